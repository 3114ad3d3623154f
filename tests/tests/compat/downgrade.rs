//! The way back: an earlier coordinator on the store of this version.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use app_proxy_tests::daemon::{Program, launch_to_end};
use nix::sys::signal::Signal;

use crate::report::Tally;
use crate::upgrade::Scene;
use crate::versions::Versions;
use crate::writers;

/// Stops the coordinator and starts the earlier one. If the schema is a later one, the earlier
/// program exits with status 1 and one line, and changes nothing; otherwise it has every app.
pub(crate) async fn check(mut scene: Scene, versions: &Versions, tally: &Arc<Tally>) {
    let coordinator = scene.cluster.coordinator();
    coordinator.signal(Signal::SIGTERM);
    assert_eq!(coordinator.ended().await.code(), Some(0));
    if scene.schema.0 == scene.schema.1 {
        println!("both versions have schema version {}", scene.schema.0);
        scene
            .cluster
            .launch(Program::Coordinator, versions.old.clone());
        scene.cluster.restart_coordinator().await;
        writers::check(&scene.cluster.api(), &scene.acknowledged, tally).await;
        return;
    }
    let folder = scene.cluster.folder();
    let before = store_files(folder);
    for args in [
        &["-c", "coordinator.yaml"][..],
        &["-t", "-c", "coordinator.yaml"],
    ] {
        let end = launch_to_end(Program::Coordinator, folder, args, &versions.old);
        print!("{}", end.stderr);
        assert_eq!(end.code, Some(1), "{args:?}");
        assert_eq!(end.stderr.lines().count(), 1, "{args:?}");
        let version = format!("version {}", scene.schema.1);
        assert!(end.stderr.contains(&version), "{args:?}: no {version:?}");
        let after = store_files(folder);
        let changed: Vec<_> = before
            .iter()
            .filter(|(name, bytes)| after.get(*name) != Some(bytes))
            .map(|(name, _)| name)
            .chain(after.keys().filter(|name| !before.contains_key(*name)))
            .collect();
        assert!(changed.is_empty(), "{args:?} changed {changed:?}");
        tally.request();
    }
    // The version that migrated the store still opens it.
    scene.cluster.restart_coordinator().await;
    writers::check(&scene.cluster.api(), &scene.acknowledged, tally).await;
}

/// The contents of the store: its file, and the write-ahead log unless that is empty. The index of
/// the log (`-shm`) is made anew by each process.
fn store_files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(folder.join("run")).expect("the folder of the store");
    let files = entries.map(|entry| entry.expect("a file"));
    files
        .map(|file| (file.file_name().to_string_lossy().into_owned(), file.path()))
        .filter(|(name, _)| ["coordinator.db", "coordinator.db-wal"].contains(&name.as_str()))
        .map(|(name, path)| (name, std::fs::read(path).expect("a file of the store")))
        .filter(|(_, bytes)| !bytes.is_empty())
        .collect()
}
