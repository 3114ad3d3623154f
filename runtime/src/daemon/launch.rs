//! The start of a daemon by its command line, as opposed to a tier inside another program.

use crate::config::ConfigPath;
use crate::daemon::flags::Flags;
use crate::daemon::logging::Logging;

/// The flags and the diagnostics of a daemon.
#[derive(Clone)]
pub struct Launch {
    pub(super) flags: Flags,
    pub(super) logging: Logging,
}

impl Launch {
    /// The configuration file.
    #[must_use]
    pub fn conf(&self) -> &ConfigPath {
        &self.flags.conf
    }

    /// The daemon takes the place of a running one (`-u`).
    #[must_use]
    pub fn is_upgrade(&self) -> bool {
        self.flags.upgrade
    }

    /// The diagnostics of the process.
    #[must_use]
    pub fn logging(&self) -> &Logging {
        &self.logging
    }
}
