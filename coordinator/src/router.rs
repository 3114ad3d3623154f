//! Which app a request is for, by its host and its path (`request_filter`).
//!
//! A [`Router`] is built anew for each revision of the app table and never changes, so that lookups
//! share it without a lock. Per host there is a table of path prefixes; a lookup asks it for the
//! prefixes of the path at hand, longest first, which costs the same however many apps there are.

use std::collections::HashMap;
use std::sync::Arc;

pub use builder::{RouteConflict, RouteError, RouterBuilder};
pub use host::{HostError, HostName};
pub use path::{NormalisedPath, PathError};
pub use rule::{Rule, RuleError};

mod builder;
mod host;
pub mod path;
mod rule;

/// What the coordinator keeps for itself on its public listeners; no app has it.
const RESERVED_PREFIX: &str = "/.app-proxy";

/// The routes of all apps, each to a `T`.
#[derive(Debug)]
pub struct Router<T> {
    hosts: HashMap<Box<str>, HostRoutes<T>>,
    any_host: PrefixTable<T>,
}

/// What answers on one host.
#[derive(Debug)]
struct HostRoutes<T> {
    rules: PrefixTable<T>,
    /// The app whose `<name>.<domain>` this host is.
    own: Option<Route<T>>,
}

/// Routes by path prefix.
#[derive(Debug)]
struct PrefixTable<T> {
    routes: HashMap<Box<[u8]>, Route<T>>,
    longest_bytes: usize,
    deepest_segments: usize,
}

#[derive(Debug)]
struct Route<T> {
    prefix: Box<str>,
    app: Arc<str>,
    value: Arc<T>,
}

/// The app that a request is for.
#[derive(Debug, PartialEq, Eq)]
pub struct Match<'r, 'p, T> {
    /// The name of the app.
    pub app: &'r str,
    /// What was added with the app.
    pub value: &'r T,
    /// The path prefix that matched, without a trailing `/`; empty for a rule without one.
    pub prefix: &'r str,
    /// The client's own bytes of the path behind `prefix`.
    pub remainder: &'p str,
}

/// What a lookup finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Lookup<'r, 'p, T> {
    /// An app. The remainder begins with `/`.
    Found(Match<'r, 'p, T>),
    /// An app, whose prefix is the whole path: the client belongs at the prefix with a `/` behind
    /// it, so that relative links work (308).
    RedirectToSlash(Match<'r, 'p, T>),
    /// No app (404, `app_not_found`).
    NotFound,
    /// A path that must not be forwarded (400, `bad_request`).
    Refused(PathError),
}

impl<T> Router<T> {
    /// A builder; with `domain`, every app also answers on `<name>.<domain>`.
    pub fn builder(domain: Option<HostName>) -> RouterBuilder<T> {
        RouterBuilder::new(domain)
    }

    /// The app for a `host`, as in the `Host` header, and a `path` without its query.
    ///
    /// Rules for the host come first, then the app whose `<name>.<domain>` it is, then rules
    /// without a host; a level in which no prefix fits is passed over. Within a level the longest
    /// prefix of whole segments wins. Case, port and trailing dot of the host do not matter. It
    /// allocates only for a host in upper case or an IPv6 address, and for a path with escapes or
    /// dot segments.
    pub fn lookup<'r, 'p>(&'r self, host: &str, path: &'p str) -> Lookup<'r, 'p, T> {
        let path = match NormalisedPath::parse(path) {
            Ok(path) => path,
            Err(error) => return Lookup::Refused(error),
        };
        if is_reserved(path.as_bytes()) {
            return Lookup::NotFound;
        }
        let Some(route) = self.route(host, path.as_bytes()) else {
            return Lookup::NotFound;
        };
        let remainder = match path.remainder(&route.prefix) {
            Ok(remainder) => remainder,
            Err(error) => return Lookup::Refused(error),
        };
        let found = Match { app: &route.app, value: route.value.as_ref(), prefix: &route.prefix, remainder };
        // Without a prefix the remainder is the path, which is never empty.
        if remainder.is_empty() { Lookup::RedirectToSlash(found) } else { Lookup::Found(found) }
    }

    fn route(&self, host: &str, path: &[u8]) -> Option<&Route<T>> {
        let by_host = || {
            let routes = self.hosts.get(host::canonical(host).as_ref())?;
            routes.rules.longest_match(path).or(routes.own.as_ref())
        };
        by_host().or_else(|| self.any_host.longest_match(path))
    }
}

impl<T> PrefixTable<T> {
    fn get(&self, prefix: &[u8]) -> Option<&Route<T>> {
        self.routes.get(prefix)
    }

    fn insert(&mut self, route: Route<T>) {
        let key = route.prefix.as_bytes();
        self.longest_bytes = self.longest_bytes.max(key.len());
        self.deepest_segments = self.deepest_segments.max(segments(key));
        self.routes.insert(key.into(), route);
    }

    /// The route of the longest prefix of `path` that ends at a segment's end.
    ///
    /// Only prefixes that are not longer and not deeper than the table's are looked up, so that a
    /// hostile path costs no more than a rule is long.
    fn longest_match(&self, path: &[u8]) -> Option<&Route<T>> {
        let mut prefix = self.longest_candidate(path);
        loop {
            if let Some(route) = self.get(prefix) {
                return Some(route);
            }
            let parent = prefix.iter().rposition(|&byte| byte == b'/')?;
            prefix = prefix.get(..parent)?;
        }
    }

    /// The longest prefix of `path` at a segment's end within the bounds of the table.
    fn longest_candidate<'p>(&self, path: &'p [u8]) -> &'p [u8] {
        let limit = self.longest_bytes.saturating_add(1);
        let ends = path.iter().take(limit).enumerate().skip(1).filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        // The path's own end is an end too, where the bounds reach that far.
        let whole = (path.len() < limit).then_some(path.len());
        let longest = ends.chain(whole).take(self.deepest_segments).last();
        path.get(..longest.unwrap_or(0)).unwrap_or_default()
    }
}

impl<T> Default for PrefixTable<T> {
    fn default() -> Self {
        Self { routes: HashMap::new(), longest_bytes: 0, deepest_segments: 0 }
    }
}

impl<T> Default for HostRoutes<T> {
    fn default() -> Self {
        Self { rules: PrefixTable::default(), own: None }
    }
}

/// The number of segments in a prefix, each of which has its slash.
fn segments(prefix: &[u8]) -> usize {
    prefix.iter().filter(|&&byte| byte == b'/').count()
}

/// Whether a path is the coordinator's own.
fn is_reserved(path: &[u8]) -> bool {
    path.strip_prefix(RESERVED_PREFIX.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
