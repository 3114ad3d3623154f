//! The app table as requests see it: a snapshot with its router, swapped whole when the table
//! changes.
//!
//! [`edit`] says what a change makes of a snapshot, [`editor`] carries changes out one after the
//! other, with the store.

pub(crate) mod edit;
pub(crate) mod editor;
pub(crate) mod usage;

use std::collections::BTreeMap;
use std::sync::Arc;

#[cfg(test)]
use app_proxy_api::apps::App;
use app_proxy_api::apps::{Labels, UpstreamPath};
use app_proxy_api::table::{AppTable, Epoch, StoredApp};
use app_proxy_hop::header::revision_value;
use app_proxy_hop::streams::Streams;
use arc_swap::{ArcSwap, Guard};
use http::HeaderValue;
use rpds::HashTrieMapSync;
use tokio::sync::watch;

use crate::apps::usage::Usage;
use crate::clock::Moment;
use crate::router::{HostName, RouteError, Router, rules};

/// An app with what each of its requests needs, made once.
#[derive(Debug)]
pub(crate) struct RoutedApp {
    /// The app.
    pub(crate) stored: Arc<StoredApp>,
    /// Its name, shared by log lines and sessions.
    pub(crate) name: Arc<str>,
    /// Its revision and the epoch that it counts in, as the worker is told.
    pub(crate) revision: HeaderValue,
    /// Its open streams; all its revisions share them.
    pub(crate) streams: Streams,
    /// When it was used last; all its revisions share it.
    pub(crate) usage: Arc<Usage>,
}

impl RoutedApp {
    /// Whether the application sees paths without the matched prefix.
    #[must_use]
    pub(crate) fn strips(&self) -> bool {
        self.stored.app.upstream_path == UpstreamPath::Strip
    }

    /// Whether it runs nowhere and its scheduler starts it when it is asked to.
    #[must_use]
    pub(crate) fn is_asleep(&self) -> bool {
        self.stored.app.endpoints.is_empty() && self.stored.app.wake.is_some()
    }

    /// Notes what has changed since `before`, which requests saw until now.
    fn note_change(&self, before: &Self) {
        let (was, is) = (&before.stored.app, &self.stored.app);
        let runs_elsewhere = was.endpoints != is.endpoints;
        if runs_elsewhere {
            self.usage.restart_idle_period(Moment::now());
        }
        // In a table that is the file's alone, an app keeps its revision when the file changes.
        if before.stored.revision == self.stored.revision && (runs_elsewhere || was.wake != is.wake)
        {
            self.usage.reset_activation();
        }
    }

    /// An app of a table's epoch; what outlives a change is taken over from the app before it.
    fn new(stored: Arc<StoredApp>, epoch: &Epoch, before: Option<&Self>) -> Self {
        let name = before.map_or_else(
            || stored.app.name.as_str().into(),
            |before| Arc::clone(&before.name),
        );
        // Epochs are made here, of letters, digits and hyphens, so that this is always a header
        // value.
        let revision = revision_value(stored.revision, epoch.as_str())
            .unwrap_or_else(|_| HeaderValue::from_static("0"));
        let streams = before
            .map(|before| before.streams.clone())
            .unwrap_or_default();
        let usage = before.map_or_else(
            || Arc::new(Usage::new(Moment::now())),
            |before| Arc::clone(&before.usage),
        );
        Self {
            stored,
            name,
            revision,
            streams,
            usage,
        }
    }
}

/// One state of the table. A clone is cheap, and is what a change is made to.
#[derive(Clone)]
pub(crate) struct Snapshot {
    /// The apps.
    pub(crate) table: AppTable,
    /// Which of them a request is for.
    pub(crate) router: Router<Arc<RoutedApp>>,
    routed: HashTrieMapSync<Arc<str>, Arc<RoutedApp>>,
    /// The pools that apps ask for, and how many apps ask for each.
    pools: BTreeMap<Labels, usize>,
}

impl Snapshot {
    /// A table with its router.
    ///
    /// # Errors
    /// When two apps answer on the same address, or one has a rule that is none.
    pub(crate) fn new(table: AppTable, domain: Option<HostName>) -> Result<Self, RouteError> {
        let router = Router::new(domain);
        let none = Self {
            table: AppTable::new(Epoch::default()),
            router,
            routed: HashTrieMapSync::new_sync(),
            pools: BTreeMap::new(),
        };
        none.remade(table)
    }

    /// Another table with its router, which keeps of its apps what outlives a change.
    fn remade(&self, table: AppTable) -> Result<Self, RouteError> {
        let router = Router::new(self.router.domain().cloned());
        let mut remade = Self {
            table,
            router,
            routed: HashTrieMapSync::new_sync(),
            pools: BTreeMap::new(),
        };
        for stored in remade.table.clone().iter() {
            remade.route(
                Arc::clone(stored),
                self.get(&stored.app.name).map(|app| &**app),
            )?;
        }
        Ok(remade)
    }

    /// The app of a name.
    #[must_use]
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<RoutedApp>> {
        self.routed.get(name)
    }

    /// All apps, in no order.
    pub(crate) fn apps(&self) -> impl Iterator<Item = &Arc<RoutedApp>> {
        self.routed.values()
    }

    /// The pools that apps ask for by labels.
    pub(crate) fn pools(&self) -> impl Iterator<Item = &Labels> {
        self.pools.keys()
    }

    /// Puts an app into the router, in the place of `before`, which is out of it already.
    fn route(
        &mut self,
        stored: Arc<StoredApp>,
        before: Option<&RoutedApp>,
    ) -> Result<(), RouteError> {
        let rules = rules(&stored.app)?;
        let routed = Arc::new(RoutedApp::new(stored, self.table.epoch(), before));
        self.router
            .add_app(&routed.name, &rules, Arc::clone(&routed))?;
        let pool = &routed.stored.app.pool;
        if !pool.is_empty() {
            *self.pools.entry(pool.clone()).or_default() += 1;
        }
        self.routed.insert_mut(Arc::clone(&routed.name), routed);
        Ok(())
    }

    fn unroute(&mut self, name: &str) -> Option<Arc<RoutedApp>> {
        let before = self.routed.get(name).map(Arc::clone)?;
        self.router.remove_app(name);
        self.routed.remove_mut(name);
        if let Some(apps) = self.pools.get_mut(&before.stored.app.pool) {
            *apps -= 1;
            if *apps == 0 {
                self.pools.remove(&before.stored.app.pool);
            }
        }
        Some(before)
    }
}

/// The current state; reading it takes no lock.
pub(crate) struct Apps {
    current: ArcSwap<Snapshot>,
    revision: watch::Sender<u64>,
}

impl Apps {
    /// Begins with a state.
    #[must_use]
    pub(crate) fn new(snapshot: Snapshot) -> Self {
        let revision = watch::Sender::new(snapshot.table.revision());
        Self {
            current: ArcSwap::from_pointee(snapshot),
            revision,
        }
    }

    /// Creates a table of the apps of a configuration file.
    #[cfg(test)]
    pub(crate) fn from_file(apps: Vec<App>, domain: Option<HostName>) -> Result<Self, RouteError> {
        Snapshot::new(AppTable::from_file(apps), domain).map(Self::new)
    }

    /// The state of this moment.
    #[must_use]
    pub(crate) fn load(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// Follows the revision.
    #[must_use]
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Makes a state the current one: requests that are matched from now on see it. `put` names the
    /// apps that may have changed. The editor alone calls this.
    fn publish(&self, snapshot: Snapshot, put: &[String]) {
        let snapshot = Arc::new(snapshot);
        let before = self.current.swap(Arc::clone(&snapshot));
        for name in put {
            if let (Some(before), Some(app)) = (before.get(name), snapshot.get(name)) {
                app.note_change(before);
            }
        }
        self.revision.send_replace(snapshot.table.revision());
    }
}
