//! Adds apps to a router and removes them; detects routes that two apps claim.

use std::collections::BTreeMap;
use std::sync::Arc;

use app_proxy_api::apps::AppError;
use rpds::HashTrieMapSync;

use super::{
    AppRoutes, HostError, HostName, HostRoutes, PrefixTable, Route, Router, Rule, segments,
};

/// Two apps claim the same route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("app `{app}` cannot have `{rule}`: app `{owner}` has it")]
pub(crate) struct RouteConflict {
    /// The app to add.
    pub(crate) app: String,
    /// The rule in conflict.
    pub(crate) rule: Rule,
    /// The app that already has the rule.
    pub(crate) owner: String,
}

/// The reasons not to add an app.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RouteError {
    /// Another app has one of the routes.
    #[error(transparent)]
    Conflict(#[from] RouteConflict),
    /// One of the rules is invalid.
    #[error(transparent)]
    Rule(#[from] AppError),
    /// An app of this name is already in the router.
    #[error("there are two apps `{0}`")]
    Duplicate(String),
    /// The name of the app is not a valid path segment.
    #[error("the app name `{0}` cannot be a segment of a path")]
    NameInPath(String),
    /// A domain is configured and the name of the app is not a valid host label.
    #[error("the app name `{app}` cannot be part of a host: {error}")]
    NameInHost {
        /// The name.
        app: String,
        /// The error in `<name>.<domain>`.
        error: HostError,
    },
}

impl<T> Router<T> {
    /// Adds an app with its `rules`, or with `/apps/<name>` if there are none, and with
    /// `<name>.<domain>` if there is a domain.
    ///
    /// A rule for a host may cover some or all of another app's `<name>.<domain>`. This is not a
    /// conflict: the rule takes precedence.
    ///
    /// # Errors
    /// [`RouteError`]; the router is then unchanged.
    pub(crate) fn add_app(
        &mut self,
        name: &str,
        rules: &[Rule],
        value: T,
    ) -> Result<(), RouteError> {
        let app: Arc<str> = name.into();
        let by_name = default_rule(name)?;
        let own = self.host_of(name)?;
        let rules = match rules {
            [] => std::slice::from_ref(&by_name),
            rules => rules,
        };
        self.check(name, rules, own.as_ref())?;

        let value = Arc::new(value);
        let route = |prefix: &str| Route {
            prefix: prefix.into(),
            app: Arc::clone(&app),
            value: Arc::clone(&value),
        };
        for rule in rules {
            self.change_table(rule, |table| table.insert(route(rule.prefix())));
        }
        if let Some(host) = &own {
            self.change_host(host, |routes| routes.own = Some(route("")));
        }
        self.apps.insert_mut(
            app,
            Arc::new(AppRoutes {
                rules: rules.to_vec(),
                own,
            }),
        );
        Ok(())
    }

    /// Removes an app. Returns whether it was present.
    pub(crate) fn remove_app(&mut self, name: &str) -> bool {
        let Some(routes) = self.apps.get(name).map(Arc::clone) else {
            return false;
        };
        for rule in &routes.rules {
            self.change_table(rule, |table| table.remove(rule.prefix().as_bytes()));
        }
        if let Some(host) = &routes.own {
            self.change_host(host, |routes| routes.own = None);
        }
        self.apps.remove_mut(name)
    }

    /// Returns `<name>.<domain>`, if there is a domain.
    fn host_of(&self, name: &str) -> Result<Option<HostName>, RouteError> {
        let Some(domain) = &self.domain else {
            return Ok(None);
        };
        let host = HostName::parse(&format!("{name}.{domain}"));
        host.map(Some).map_err(|error| RouteError::NameInHost {
            app: name.to_owned(),
            error,
        })
    }

    /// Rejects an app in conflict with others, before any of its routes is added.
    fn check(&self, app: &str, rules: &[Rule], own: Option<&HostName>) -> Result<(), RouteError> {
        if self.apps.contains_key(app) {
            return Err(RouteError::Duplicate(app.to_owned()));
        }
        let conflict = rules
            .iter()
            .find_map(|rule| Some((rule.clone(), self.owner(rule)?)));
        let conflict = conflict.or_else(|| {
            let own = own?;
            let route = self.hosts.get(own.as_str())?.own.as_ref()?;
            Some((Rule::of_host(own.clone()), route))
        });
        match conflict {
            None => Ok(()),
            Some((rule, route)) => Err(RouteError::Conflict(RouteConflict {
                app: app.to_owned(),
                rule,
                owner: route.app.as_ref().to_owned(),
            })),
        }
    }

    fn owner(&self, rule: &Rule) -> Option<&Route<T>> {
        let table = match rule.host() {
            None => &self.any_host,
            Some(host) => &self.hosts.get(host.as_str())?.rules,
        };
        table.get(rule.prefix().as_bytes())
    }

    fn change_table(&mut self, rule: &Rule, change: impl FnOnce(&mut PrefixTable<T>)) {
        match rule.host() {
            None => change(&mut self.any_host),
            Some(host) => self.change_host(host, |routes| change(&mut routes.rules)),
        }
    }

    /// Changes the routes of a host, and removes the host if it has none left.
    fn change_host(&mut self, host: &HostName, change: impl FnOnce(&mut HostRoutes<T>)) {
        let mut routes = self.hosts.get(host.as_str()).cloned().unwrap_or_default();
        change(&mut routes);
        if routes.own.is_none() && routes.rules.routes.is_empty() {
            self.hosts.remove_mut(host.as_str());
        } else {
            self.hosts.insert_mut(host.as_str().into(), routes);
        }
    }
}

impl<T> PrefixTable<T> {
    fn insert(&mut self, route: Route<T>) {
        let key = route.prefix.as_bytes();
        // An app may list a rule twice.
        if !self.routes.contains_key(key) {
            *self.lengths.entry(key.len()).or_default() += 1;
            *self.depths.entry(segments(key)).or_default() += 1;
        }
        self.routes.insert_mut(key.into(), route);
        self.update_bounds();
    }

    fn remove(&mut self, prefix: &[u8]) {
        if self.routes.remove_mut(prefix) {
            decrement(&mut self.lengths, prefix.len());
            decrement(&mut self.depths, segments(prefix));
            self.update_bounds();
        }
    }

    fn update_bounds(&mut self) {
        let largest =
            |counts: &BTreeMap<usize, usize>| counts.last_key_value().map_or(0, |(size, _)| *size);
        self.longest_bytes = largest(&self.lengths);
        self.deepest_segments = largest(&self.depths);
        debug_assert_eq!(self.lengths.values().sum::<usize>(), self.routes.size());
    }
}

fn decrement(counts: &mut BTreeMap<usize, usize>, size: usize) {
    if let Some(count) = counts.get_mut(&size) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&size);
        }
    }
}

impl<T> Clone for Router<T> {
    fn clone(&self) -> Self {
        Self {
            domain: self.domain.clone(),
            apps: self.apps.clone(),
            hosts: self.hosts.clone(),
            any_host: self.any_host.clone(),
        }
    }
}

impl<T> Clone for HostRoutes<T> {
    fn clone(&self) -> Self {
        Self {
            rules: self.rules.clone(),
            own: self.own.clone(),
        }
    }
}

impl<T> Clone for PrefixTable<T> {
    fn clone(&self) -> Self {
        Self {
            routes: self.routes.clone(),
            longest_bytes: self.longest_bytes,
            deepest_segments: self.deepest_segments,
            lengths: self.lengths.clone(),
            depths: self.depths.clone(),
        }
    }
}

impl<T> Clone for Route<T> {
    fn clone(&self) -> Self {
        Self {
            prefix: Arc::clone(&self.prefix),
            app: Arc::clone(&self.app),
            value: Arc::clone(&self.value),
        }
    }
}

impl<T> Default for PrefixTable<T> {
    fn default() -> Self {
        Self {
            routes: HashTrieMapSync::new_sync(),
            longest_bytes: 0,
            deepest_segments: 0,
            lengths: BTreeMap::new(),
            depths: BTreeMap::new(),
        }
    }
}

impl<T> Default for HostRoutes<T> {
    fn default() -> Self {
        Self {
            rules: PrefixTable::default(),
            own: None,
        }
    }
}

/// Returns the rule `/apps/<name>`.
fn default_rule(name: &str) -> Result<Rule, RouteError> {
    Rule::of_app(name)
        .ok()
        .filter(|_| !name.is_empty() && !name.contains('/'))
        .ok_or_else(|| RouteError::NameInPath(name.to_owned()))
}
