//! The app table as requests see it: a snapshot with its router, swapped whole when the table changes.

use std::sync::Arc;

use app_proxy_control::app::{App, UpstreamPath};
use app_proxy_control::table::{AppTable, StoredApp};
use app_proxy_hop::header::revision_value;
use arc_swap::{ArcSwap, Guard};
use http::HeaderValue;
use tokio::sync::watch;

use crate::config::rules;
use crate::router::{HostName, Router};
use crate::usage::{Now, Usage};

/// An app with what each of its requests needs, made once.
#[derive(Debug)]
pub struct RoutedApp {
    /// The app.
    pub stored: Arc<StoredApp>,
    /// Its name, shared by log lines and sessions.
    pub name: Arc<str>,
    /// Its revision and the epoch that it counts in, as the worker is told.
    pub revision: HeaderValue,
    /// When it was used last; all revisions share it.
    pub usage: Arc<Usage>,
}

impl RoutedApp {
    /// Whether the application sees paths without the matched prefix.
    #[must_use]
    pub fn strips(&self) -> bool {
        self.stored.app.upstream_path == UpstreamPath::Strip
    }

    /// Whether it runs nowhere and its scheduler starts it when it is asked to.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        self.stored.app.endpoints.is_empty() && self.stored.app.wake.is_some()
    }
}

/// One state of the table.
pub struct Snapshot {
    /// The apps.
    pub table: AppTable,
    /// Which of them a request is for.
    pub router: Router<Arc<RoutedApp>>,
    routed: Vec<Arc<RoutedApp>>,
}

impl Snapshot {
    /// All apps, in no order.
    pub fn routed(&self) -> impl Iterator<Item = &Arc<RoutedApp>> {
        self.routed.iter()
    }
}

/// The current state; reading it takes no lock.
pub struct Apps {
    current: ArcSwap<Snapshot>,
    revision: watch::Sender<u64>,
}

impl Apps {
    /// The apps of a configuration file.
    ///
    /// # Errors
    /// When two of them answer on the same address, which validating the file rules out.
    pub fn from_file(apps: Vec<App>, domain: Option<HostName>) -> Result<Self, String> {
        let table = AppTable::from_file(apps);
        let revision = watch::Sender::new(table.revision());
        Ok(Self { current: ArcSwap::from_pointee(snapshot(table, domain)?), revision })
    }

    /// The state of this moment.
    #[must_use]
    pub fn load(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// Follows the revision.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }
}

fn snapshot(table: AppTable, domain: Option<HostName>) -> Result<Snapshot, String> {
    let mut router = Router::builder(domain);
    let mut routed = Vec::new();
    for stored in table.iter() {
        let app = RoutedApp {
            stored: Arc::clone(stored),
            name: stored.app.name.as_str().into(),
            revision: revision_value(stored.revision, table.epoch()).map_err(|e| e.to_string())?,
            usage: Arc::new(Usage::new(Now::read())),
        };
        let rules = rules(&stored.app)?;
        let app = Arc::new(app);
        router.add_app(&stored.app.name, &rules, Arc::clone(&app)).map_err(|e| e.to_string())?;
        routed.push(app);
    }
    Ok(Snapshot { router: router.build(), table, routed })
}
