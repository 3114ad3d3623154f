//! Which app a request is for, by its host and its path (`request_filter`).
//!
//! A published [`Router`] never changes, so that lookups share it without a lock: a change is made
//! to a clone, which shares all but a few nodes with the original. Per host there is a table of
//! path prefixes; a lookup asks it for the prefixes of the path at hand, longest first. Lookup and
//! change cost the same however many apps there are.

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

/// What the coordinator keeps for itself on its public listeners; no app has it.
const RESERVED_PREFIX: &str = "/.app-proxy";

/// The routes of all apps, each to a `T`. A clone is cheap.
#[derive(Debug)]
pub(crate) struct Router<T> {
    domain: Option<HostName>,
    /// What each app answers on, to take it out again.
    apps: HashTrieMapSync<Arc<str>, Arc<AppRoutes>>,
    hosts: HashTrieMapSync<Arc<str>, HostRoutes<T>>,
    any_host: PrefixTable<T>,
}

/// What an app answers on.
#[derive(Debug)]
struct AppRoutes {
    rules: Vec<Rule>,
    own: Option<HostName>,
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
    routes: HashTrieMapSync<Box<[u8]>, Route<T>>,
    longest_bytes: usize,
    deepest_segments: usize,
    /// How many prefixes there are of each length and depth: what the two above are the largest of.
    lengths: BTreeMap<usize, usize>,
    depths: BTreeMap<usize, usize>,
}

#[derive(Debug)]
struct Route<T> {
    prefix: Arc<str>,
    app: Arc<str>,
    value: Arc<T>,
}

/// The app that a request is for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Match<'r, 'p, T> {
    /// The name of the app.
    pub(crate) app: &'r str,
    /// What was added with the app.
    pub(crate) value: &'r T,
    /// The path prefix that matched, without a trailing `/`; empty for a rule without one.
    pub(crate) prefix: &'r str,
    /// The client's own bytes of the path behind `prefix`.
    pub(crate) remainder: &'p str,
}

/// What a lookup finds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Lookup<'r, 'p, T> {
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
    /// A router without an app; with `domain`, every app also answers on `<name>.<domain>`.
    #[must_use]
    pub(crate) fn new(domain: Option<HostName>) -> Self {
        Self {
            domain,
            apps: HashTrieMapSync::new_sync(),
            hosts: HashTrieMapSync::new_sync(),
            any_host: PrefixTable::default(),
        }
    }

    /// Below which every app has a host of its own.
    #[must_use]
    pub(crate) fn domain(&self) -> Option<&HostName> {
        self.domain.as_ref()
    }

    /// The app for a `host`, as in the `Host` header, and a `path` without its query.
    ///
    /// Rules for the host come first, then the app whose `<name>.<domain>` it is, then rules
    /// without a host; a level in which no prefix fits is passed over. Within a level the longest
    /// prefix of whole segments wins. Case, port and trailing dot of the host do not matter. It
    /// allocates only for a host in upper case or an IPv6 address, and for a path with escapes or
    /// dot segments.
    pub(crate) fn lookup<'r, 'p>(&'r self, host: &str, path: &'p str) -> Lookup<'r, 'p, T> {
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
        let ends = path
            .iter()
            .take(limit)
            .enumerate()
            .skip(1)
            .filter(|(_, byte)| **byte == b'/')
            .map(|(end, _)| end);
        // The path's own end is an end too, where the bounds reach that far.
        let whole = (path.len() < limit).then_some(path.len());
        let longest = ends.chain(whole).take(self.deepest_segments).last();
        path.get(..longest.unwrap_or(0)).unwrap_or_default()
    }
}

/// The number of segments in a prefix, each of which has its slash.
fn segments(prefix: &[u8]) -> usize {
    prefix.iter().filter(|&&byte| byte == b'/').count()
}

/// Whether a path is the coordinator's own.
fn is_reserved(path: &[u8]) -> bool {
    path.strip_prefix(RESERVED_PREFIX.as_bytes())
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests;
