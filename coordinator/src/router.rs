//! Finds the app of a request by host and path (`request_filter`).
//!
//! A published [`Router`] never changes, so lookups need no lock. A change is applied to a clone,
//! which shares all but a few nodes with the original. Each host has a table of path prefixes; a
//! lookup tries the prefixes of the request's path, longest first. The cost of a lookup or a change
//! does not depend on the number of apps.

use std::collections::BTreeMap;
use std::sync::Arc;

use rpds::HashTrieMapSync;

pub(crate) use change::RouteError;
pub(crate) use host::{HostError, HostName};
pub(crate) use path::{NormalisedPath, PathError};
pub(crate) use rule::{Rule, rules};

mod change;
mod host;
pub(crate) mod path;
mod rule;

/// The routes of all apps, each with a value of type `T`. Cloning is cheap.
#[derive(Debug)]
pub(crate) struct Router<T> {
    domain: Option<HostName>,
    /// The routes of each app, needed to remove the app.
    apps: HashTrieMapSync<Arc<str>, Arc<AppRoutes>>,
    hosts: HashTrieMapSync<Arc<str>, HostRoutes<T>>,
    any_host: PrefixTable<T>,
}

/// The routes of one app.
#[derive(Debug)]
struct AppRoutes {
    rules: Vec<Rule>,
    own: Option<HostName>,
}

/// The routes of one host.
#[derive(Debug)]
struct HostRoutes<T> {
    rules: PrefixTable<T>,
    /// Set if this host is `<name>.<domain>` of an app.
    own: Option<Route<T>>,
}

/// Routes by path prefix.
#[derive(Debug)]
struct PrefixTable<T> {
    routes: HashTrieMapSync<Box<[u8]>, Route<T>>,
    longest_bytes: usize,
    deepest_segments: usize,
    /// Number of prefixes of each length and of each depth, from which the two maxima are
    /// computed.
    lengths: BTreeMap<usize, usize>,
    depths: BTreeMap<usize, usize>,
}

#[derive(Debug)]
struct Route<T> {
    prefix: Arc<str>,
    app: Arc<str>,
    value: Arc<T>,
}

/// A match of a request with a route.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Match<'r, 'p, T> {
    /// The name of the app.
    pub(crate) app: &'r str,
    /// The value given to [`Router::add_app`].
    pub(crate) value: &'r T,
    /// The matched path prefix without a trailing `/`; empty if the rule has no path.
    pub(crate) prefix: &'r str,
    /// The path after `prefix`, in the client's own bytes.
    pub(crate) remainder: &'p str,
}

/// The result of a lookup.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup<'r, 'p, T> {
    /// An app. The remainder begins with `/`.
    Found(Match<'r, 'p, T>),
    /// An app whose prefix is the whole path. The client is redirected to the prefix with a
    /// trailing `/`, so that relative links work (308).
    RedirectToSlash(Match<'r, 'p, T>),
    /// No app (404, `app_not_found`).
    NotFound,
    /// A path that must not be forwarded (400, `bad_request`).
    Refused(PathError),
}

impl<T> Router<T> {
    /// Creates a router without apps. With a `domain`, each app also matches `<name>.<domain>`.
    #[must_use]
    pub(crate) fn new(domain: Option<HostName>) -> Self {
        Self {
            domain,
            apps: HashTrieMapSync::new_sync(),
            hosts: HashTrieMapSync::new_sync(),
            any_host: PrefixTable::default(),
        }
    }

    /// The domain below which each app has its own host.
    #[must_use]
    pub(crate) fn domain(&self) -> Option<&HostName> {
        self.domain.as_ref()
    }

    /// Finds the app for a `host`, as in the `Host` header, and a `path` without its query.
    ///
    /// Precedence: rules for the host, then the app whose `<name>.<domain>` is the host, then rules
    /// without a host. A level without a matching prefix is skipped. Within a level the longest
    /// prefix of whole segments wins. Case, port and trailing dot of the host are ignored.
    /// Allocates only if the host is in upper case or an IPv6 address, or if the path has escapes
    /// or dot segments.
    pub(crate) fn lookup<'r, 'p>(&'r self, host: &str, path: &'p str) -> Lookup<'r, 'p, T> {
        let path = match NormalisedPath::parse(path) {
            Ok(path) => path,
            Err(error) => return Lookup::Refused(error),
        };
        if rule::is_reserved(path.as_bytes()) {
            return Lookup::NotFound;
        }
        let Some(route) = self.route(host, path.as_bytes()) else {
            return Lookup::NotFound;
        };
        let remainder = match path.remainder(&route.prefix) {
            Ok(remainder) => remainder,
            Err(error) => return Lookup::Refused(error),
        };
        let found = Match {
            app: &route.app,
            value: route.value.as_ref(),
            prefix: &route.prefix,
            remainder,
        };
        // Without a prefix the remainder is the path, which is never empty.
        if remainder.is_empty() {
            Lookup::RedirectToSlash(found)
        } else {
            Lookup::Found(found)
        }
    }

    fn route(&self, host: &str, path: &[u8]) -> Option<&Route<T>> {
        let by_host = || {
            if self.hosts.is_empty() {
                return None;
            }
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

    /// Returns the route of the longest prefix of `path` that consists of whole segments.
    ///
    /// Looks up only prefixes within the table's maximum length and depth, so that the cost of a
    /// hostile path is bounded by the longest rule.
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

    /// Returns the longest prefix of `path`, in whole segments, within the bounds of the table.
    fn longest_candidate<'p>(&self, path: &'p [u8]) -> &'p [u8] {
        let limit = self.longest_bytes.saturating_add(1);
        let ends = path
            .iter()
            .take(limit)
            .enumerate()
            .skip(1)
            .filter(|(_, byte)| **byte == b'/')
            .map(|(end, _)| end);
        // The end of the path also ends a segment, if it is within the bounds.
        let whole = (path.len() < limit).then_some(path.len());
        let longest = ends.chain(whole).take(self.deepest_segments).last();
        path.get(..longest.unwrap_or(0)).unwrap_or_default()
    }
}

/// Counts the segments of a prefix: each begins with a slash.
fn segments(prefix: &[u8]) -> usize {
    prefix.iter().filter(|&&byte| byte == b'/').count()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
