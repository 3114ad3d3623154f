//! The app table as requests see it: an immutable snapshot with its router, replaced when the table
//! changes.
//!
//! [`edit`] computes the result of a change. [`editor`] applies changes one at a time and stores
//! them.

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
use crate::request::via::ViaValues;
use crate::router::{HostName, RouteError, Router, rules};

/// An app with precomputed values for its requests.
#[derive(Debug)]
pub(crate) struct RoutedApp {
    /// The app.
    pub(crate) stored: Arc<StoredApp>,
    /// The name, shared by log lines and sessions.
    pub(crate) name: Arc<str>,
    /// The revision and its epoch as a header value for the worker.
    pub(crate) revision: HeaderValue,
    /// The open streams, shared by all revisions.
    pub(crate) streams: Streams,
    /// The time of the last use, shared by all revisions.
    pub(crate) usage: Arc<Usage>,
    /// The values of `Via` for its requests.
    pub(crate) via: ViaValues,
}

impl RoutedApp {
    /// Returns whether the matched prefix is stripped from forwarded paths.
    #[must_use]
    pub(crate) fn strips_prefix(&self) -> bool {
        self.stored.app.upstream_path == UpstreamPath::Strip
    }

    /// Returns whether the app has no endpoint and a scheduler that can start it.
    #[must_use]
    pub(crate) fn needs_activation(&self) -> bool {
        self.stored.app.endpoints.is_empty() && self.stored.app.wake.is_some()
    }

    /// Updates the usage after a change from `before`, the previously published app.
    fn update_usage(&self, before: &Self) {
        let (was, is) = (&before.stored.app, &self.stored.app);
        let endpoints_changed = was.endpoints != is.endpoints;
        if endpoints_changed {
            self.usage.restart_idle_period(Moment::now());
        }
        // In a table of the file alone, the revision of an app stays the same when the file
        // changes.
        if before.stored.revision == self.stored.revision
            && (endpoints_changed || was.wake != is.wake)
        {
            self.usage.reset_activation();
        }
    }

    /// Creates an app of a table with this epoch. It inherits name, streams and usage from the app
    /// that it replaces.
    fn new(stored: Arc<StoredApp>, epoch: &Epoch, before: Option<&Self>) -> Self {
        let name = before.map_or_else(
            || stored.app.name.as_str().into(),
            |before| Arc::clone(&before.name),
        );
        // Epochs consist of letters, digits and hyphens, so this is always a valid header value.
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
            via: ViaValues::default(),
        }
    }
}

/// A snapshot of the table. Changes are made to a clone, which is cheap.
#[derive(Clone)]
pub(crate) struct Snapshot {
    /// The apps.
    pub(crate) table: AppTable,
    /// The routes of the apps.
    pub(crate) router: Router<Arc<RoutedApp>>,
    routed: HashTrieMapSync<Arc<str>, Arc<RoutedApp>>,
    /// The label selectors of apps, with the number of apps for each.
    selectors: BTreeMap<Labels, usize>,
}

impl Snapshot {
    /// Creates a snapshot of a table.
    ///
    /// # Errors
    /// [`RouteError`] if two apps have the same route or if an app has an invalid rule.
    pub(crate) fn new(table: AppTable, domain: Option<HostName>) -> Result<Self, RouteError> {
        let router = Router::new(domain);
        let empty = Self {
            table: AppTable::new(Epoch::default()),
            router,
            routed: HashTrieMapSync::new_sync(),
            selectors: BTreeMap::new(),
        };
        empty.rebuilt(table)
    }

    /// Creates a snapshot of another table, whose apps inherit from the apps of this one.
    fn rebuilt(&self, table: AppTable) -> Result<Self, RouteError> {
        let router = Router::new(self.router.domain().cloned());
        let mut rebuilt = Self {
            table,
            router,
            routed: HashTrieMapSync::new_sync(),
            selectors: BTreeMap::new(),
        };
        for stored in rebuilt.table.clone().iter() {
            rebuilt.route(
                Arc::clone(stored),
                self.get(&stored.app.name).map(|app| &**app),
            )?;
        }
        Ok(rebuilt)
    }

    /// Returns the app with a name.
    #[must_use]
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<RoutedApp>> {
        self.routed.get(name)
    }

    /// Iterates over all apps, in no order.
    pub(crate) fn apps(&self) -> impl Iterator<Item = &Arc<RoutedApp>> {
        self.routed.values()
    }

    /// Iterates over the label selectors of apps.
    pub(crate) fn selectors(&self) -> impl Iterator<Item = &Labels> {
        self.selectors.keys()
    }

    /// Adds an app to the router. It inherits from `before`, which is no longer in the router.
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
            *self.selectors.entry(pool.clone()).or_default() += 1;
        }
        self.routed.insert_mut(Arc::clone(&routed.name), routed);
        Ok(())
    }

    fn unroute(&mut self, name: &str) -> Option<Arc<RoutedApp>> {
        let before = self.routed.get(name).map(Arc::clone)?;
        self.router.remove_app(name);
        self.routed.remove_mut(name);
        if let Some(apps) = self.selectors.get_mut(&before.stored.app.pool) {
            *apps -= 1;
            if *apps == 0 {
                self.selectors.remove(&before.stored.app.pool);
            }
        }
        Some(before)
    }
}

/// The current snapshot, which is read without a lock.
pub(crate) struct Apps {
    current: ArcSwap<Snapshot>,
    revision: watch::Sender<u64>,
}

impl Apps {
    /// Creates the table with an initial snapshot.
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

    /// Returns the current snapshot.
    #[must_use]
    pub(crate) fn load(&self) -> Guard<Arc<Snapshot>> {
        self.current.load()
    }

    /// Subscribes to the revision.
    #[must_use]
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Publishes a snapshot to later requests. `put` names the apps that may have changed. Called
    /// by the editor only.
    fn publish(&self, snapshot: Snapshot, put: &[String]) {
        let snapshot = Arc::new(snapshot);
        let before = self.current.swap(Arc::clone(&snapshot));
        for name in put {
            if let (Some(before), Some(app)) = (before.get(name), snapshot.get(name)) {
                app.update_usage(before);
            }
        }
        self.revision.send_replace(snapshot.table.revision());
    }
}
