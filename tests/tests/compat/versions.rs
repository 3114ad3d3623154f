//! The two versions: their programs, and what their stores say of themselves.

use std::path::{Path, PathBuf};

use app_proxy_tests::daemon::{Launch, Program};
use rusqlite::{Connection, OpenFlags};

/// The programs of an earlier commit, and those of the working tree.
#[derive(Clone, Debug)]
pub(crate) struct Versions {
    /// The folder of the earlier commit's sources.
    pub(crate) source: PathBuf,
    /// The earlier programs.
    pub(crate) old: Launch,
    /// The programs of the working tree.
    pub(crate) new: Launch,
}

impl Versions {
    /// Reads the folders that scripts/compat.sh names: of the earlier commit's programs
    /// (`APP_PROXY_COMPAT_BIN_DIR`) and of its sources (`APP_PROXY_COMPAT_SOURCE`).
    ///
    /// # Panics
    /// If one is not named.
    pub(crate) fn from_environment() -> Self {
        let folder = |name: &str| {
            let value = std::env::var_os(name);
            PathBuf::from(value.unwrap_or_else(|| panic!("{name} is not set: run `make compat`")))
        };
        let new = Program::Coordinator.path();
        Self {
            source: folder("APP_PROXY_COMPAT_SOURCE"),
            old: from_folder(&folder("APP_PROXY_COMPAT_BIN_DIR")),
            new: from_folder(new.parent().expect("the folder of the programs")),
        }
    }
}

fn from_folder(folder: &Path) -> Launch {
    Launch {
        folder: Some(folder.to_owned()),
        under: Vec::new(),
    }
}

/// Reads the schema version of a store, which a process may have open.
pub(crate) fn schema_version(store: &Path) -> i64 {
    let connection = Connection::open_with_flags(store, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .unwrap_or_else(|error| panic!("{}: {error}", store.display()));
    connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .expect("the schema version")
}
