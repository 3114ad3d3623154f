//! Puts the routes of all apps into one table, and finds out where two apps want the same.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{HostError, HostName, HostRoutes, PrefixTable, Route, Router, Rule};

/// Two apps want the same requests.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("app `{app}` cannot have `{rule}`: app `{owner}` has it")]
pub struct RouteConflict {
    /// The app that was to be added.
    pub app: String,
    /// What it would answer on.
    pub rule: Rule,
    /// The app that answers on it already.
    pub owner: String,
}

/// Why an app could not be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// Another app answers there.
    #[error(transparent)]
    Conflict(#[from] RouteConflict),
    /// An app of that name has been added.
    #[error("there are two apps `{0}`")]
    Duplicate(String),
    /// The name of the app cannot be one segment of a path.
    #[error("the app name `{0}` cannot be a segment of a path")]
    NameInPath(String),
    /// The name of the app cannot be the first label of a host, and there is a domain.
    #[error("the app name `{app}` cannot be part of a host: {error}")]
    NameInHost {
        /// The name.
        app: String,
        /// What is wrong with the host that it would have.
        error: HostError,
    },
}

/// Builds a [`Router`].
#[derive(Debug)]
pub struct RouterBuilder<T> {
    domain: Option<HostName>,
    names: HashSet<Arc<str>>,
    hosts: HashMap<Box<str>, HostRoutes<T>>,
    any_host: PrefixTable<T>,
}

impl<T> RouterBuilder<T> {
    pub(super) fn new(domain: Option<HostName>) -> Self {
        Self { domain, names: HashSet::new(), hosts: HashMap::new(), any_host: PrefixTable::default() }
    }

    /// Adds an app, which answers on `rules`, or on `/apps/<name>` when there are none, and on
    /// `<name>.<domain>` where there is a domain.
    ///
    /// A rule for a host may cover some or all of another app's `<name>.<domain>`: that is no
    /// conflict, the rule wins.
    ///
    /// # Errors
    /// [`RouteError`]; the builder is then as it was before.
    pub fn add_app(&mut self, name: &str, rules: &[Rule], value: T) -> Result<(), RouteError> {
        let app: Arc<str> = name.into();
        let by_name = path_of(name)?;
        let own = self.host_of(name)?;
        let rules = match rules {
            [] => std::slice::from_ref(&by_name),
            rules => rules,
        };
        self.check(name, rules, own.as_ref())?;

        let value = Arc::new(value);
        let route = |prefix: &str| Route { prefix: prefix.into(), app: Arc::clone(&app), value: Arc::clone(&value) };
        for rule in rules {
            self.table_for(rule).insert(route(rule.prefix()));
        }
        if let Some(host) = own {
            self.on_host(&host).own = Some(route(""));
        }
        self.names.insert(app);
        Ok(())
    }

    /// The finished table.
    pub fn build(self) -> Router<T> {
        Router { hosts: self.hosts, any_host: self.any_host }
    }

    /// `<name>.<domain>`, where there is a domain.
    fn host_of(&self, name: &str) -> Result<Option<HostName>, RouteError> {
        let Some(domain) = &self.domain else {
            return Ok(None);
        };
        let host = HostName::parse(&format!("{name}.{domain}"));
        host.map(Some).map_err(|error| RouteError::NameInHost { app: name.to_owned(), error })
    }

    /// Finds what stands in the way of an app before anything of it is added.
    fn check(&self, app: &str, rules: &[Rule], own: Option<&HostName>) -> Result<(), RouteError> {
        if self.names.contains(app) {
            return Err(RouteError::Duplicate(app.to_owned()));
        }
        let taken = rules.iter().find_map(|rule| Some((rule.clone(), self.owner(rule)?)));
        let taken = taken.or_else(|| {
            let own = own?;
            let route = self.hosts.get(own.as_str())?.own.as_ref()?;
            Some((Rule::of_host(own.clone()), route))
        });
        match taken {
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

    fn table_for(&mut self, rule: &Rule) -> &mut PrefixTable<T> {
        match rule.host() {
            None => &mut self.any_host,
            Some(host) => &mut self.on_host(host).rules,
        }
    }

    fn on_host(&mut self, host: &HostName) -> &mut HostRoutes<T> {
        self.hosts.entry(host.as_str().into()).or_default()
    }
}

/// `/apps/<name>` as a rule.
fn path_of(name: &str) -> Result<Rule, RouteError> {
    Rule::of_app(name)
        .ok()
        .filter(|_| !name.is_empty() && !name.contains('/'))
        .ok_or_else(|| RouteError::NameInPath(name.to_owned()))
}
