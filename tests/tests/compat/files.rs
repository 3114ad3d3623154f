//! The configuration files of the earlier version are accepted by this one.

use app_proxy_tests::daemon::{Program, launch_to_end};

use crate::report::Tally;
use crate::versions::Versions;

/// Checks the samples of the earlier version (`conf/`), which name every key that it knows.
pub(crate) fn check(versions: &Versions, tally: &Tally) {
    let folder = tempfile::tempdir().expect("a folder");
    for (program, name) in [
        (Program::Coordinator, "coordinator.yaml"),
        (Program::Worker, "worker.yaml"),
    ] {
        let file = versions.source.join("conf").join(name);
        let file = file.to_str().expect("the path of a file");
        let end = launch_to_end(program, folder.path(), &["-t", "-c", file], &versions.new);
        if end.code == Some(0) {
            tally.request();
            // Renamed keys have a warning each.
            print!("{}", end.stderr);
        } else {
            tally.fail(&format!("conf/{name}: {:?}: {}", end.code, end.stderr));
        }
    }
}
