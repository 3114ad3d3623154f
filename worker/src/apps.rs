//! The worker's copies of the app tables, replaced as a whole on each change; reading them takes
//! no lock.
//!
//! There is one table per epoch: coordinators that share an app table share a copy, others have
//! their own. Each request is therefore served from the table that its coordinator used. A copy is
//! dropped once no followed coordinator has its epoch.

mod table;

mod change;
mod hostnames;

pub(crate) use change::{Apps, Position};
pub(crate) use hostnames::{LOOKUP_PATIENCE, Resolved, Resolver, names_of};
pub(crate) use table::{Lookup, RequiredRevision, ServedApp};

#[cfg(test)]
mod tests;
