//! The programs under test as files: found next to the test, and rejected when they are older than
//! their sources.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use std::time::SystemTime;

/// Returns the path of a program: in `$APP_PROXY_BIN_DIR`, else two folders above the test
/// (`target/debug`).
///
/// # Panics
/// When the program is missing there, or is older than its sources.
#[must_use]
pub fn find(name: &str) -> PathBuf {
    let build = "cargo build --workspace --bins";
    if let Some(folder) = std::env::var_os("APP_PROXY_BIN_DIR") {
        return existing(Path::new(&folder), name, build);
    }
    let test = std::env::current_exe().expect("the path of the test");
    let folder = test.ancestors().nth(2).expect("a folder above the test's");
    find_built(folder, name, build)
}

/// Returns the path of an example: in the folder `examples` beside the programs.
///
/// # Panics
/// When the example is missing there, or is older than its sources.
#[must_use]
pub fn find_example(name: &str) -> PathBuf {
    let build = "cargo build --workspace --examples";
    if let Some(folder) = std::env::var_os("APP_PROXY_BIN_DIR") {
        return existing(&Path::new(&folder).join("examples"), name, build);
    }
    let test = std::env::current_exe().expect("the path of the test");
    let folder = test.ancestors().nth(2).expect("a folder above the test's");
    find_built(&folder.join("examples"), name, build)
}

/// Returns the path of a program that `build` puts into `folder`.
///
/// # Panics
/// When the program is missing there, or is older than its sources.
#[must_use]
pub fn find_built(folder: &Path, name: &str, build: &str) -> PathBuf {
    // Each program is compared once a process, so that an edit does not end tests that run.
    static STALE: LazyLock<Mutex<HashMap<PathBuf, Option<String>>>> = LazyLock::new(Mutex::default);

    let program = existing(folder, name, build);
    let stale = STALE
        .lock()
        .expect("the programs")
        .entry(program.clone())
        .or_insert_with(|| newer_source(&program))
        .clone();
    if let Some(source) = stale {
        panic!(
            "{} is older than {source}: run `{build}`",
            program.display()
        );
    }
    program
}

/// Returns the path of a program in `folder`, however old.
///
/// # Panics
/// When the program is missing.
#[must_use]
pub fn existing(folder: &Path, name: &str, build: &str) -> PathBuf {
    let path = folder.join(name);
    assert!(
        path.is_file(),
        "{} is missing: run `{build}`, or name its folder in APP_PROXY_BIN_DIR \
         (APP_PROXY_COST_BIN_DIR for the cost of a request)",
        path.display()
    );
    // Programs run in folders of their own, where a relative path does not lead here.
    path.canonicalize().expect("the path of the program")
}

/// Returns a source of the program that was changed or removed after the program was built. Cargo
/// lists the sources in a file `NAME.d` next to the program; without that file nothing is compared.
fn newer_source(program: &Path) -> Option<String> {
    let built = modified(program)?;
    let list = std::fs::read_to_string(program.with_extension("d")).ok()?;
    let (_, sources) = list.split_once(": ")?;
    // A space in a path is written `\ `.
    let sources = sources.replace("\\ ", "\0");
    sources
        .split_whitespace()
        .map(|source| source.replace('\0', " "))
        .find(|source| modified(Path::new(source)).is_none_or(|changed| changed > built))
}

fn modified(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|file| file.modified()).ok()
}

#[cfg(test)]
mod tests {
    use std::fs::{File, write};
    use std::time::Duration;

    use super::*;

    /// Returns a folder with a program, its list of sources, and one source.
    fn folder(age: impl Fn(SystemTime) -> SystemTime) -> tempfile::TempDir {
        let folder = tempfile::Builder::new()
            .prefix("a folder")
            .tempdir()
            .unwrap();
        let source = folder.path().join("main.rs");
        let escaped = source.display().to_string().replace(' ', "\\ ");
        write(folder.path().join("daemon"), "").unwrap();
        write(folder.path().join("daemon.d"), format!("daemon: {escaped}")).unwrap();
        write(&source, "").unwrap();
        let built = modified(&folder.path().join("daemon")).unwrap();
        let source = File::options().write(true).open(source).unwrap();
        source.set_modified(age(built)).unwrap();
        folder
    }

    #[test]
    fn a_program_newer_than_its_sources_is_found() {
        let folder = folder(|built| built - Duration::from_secs(1));
        assert!(find_built(folder.path(), "daemon", "make").ends_with("daemon"));
    }

    #[test]
    #[should_panic(expected = "main.rs: run `make`")]
    fn a_program_older_than_a_source_is_rejected() {
        let folder = folder(|built| built + Duration::from_secs(1));
        let _ = find_built(folder.path(), "daemon", "make");
    }

    #[test]
    #[should_panic(expected = "main.rs: run `make`")]
    fn a_program_with_a_removed_source_is_rejected() {
        let folder = folder(|built| built);
        std::fs::remove_file(folder.path().join("main.rs")).unwrap();
        let _ = find_built(folder.path(), "daemon", "make");
    }

    #[test]
    fn a_program_without_a_list_of_sources_is_found() {
        let folder = folder(|built| built + Duration::from_secs(1));
        std::fs::remove_file(folder.path().join("daemon.d")).unwrap();
        assert!(find_built(folder.path(), "daemon", "make").ends_with("daemon"));
    }
}
