//! The pid file of a daemon in the background: written when it serves, removed when it ends.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use log::warn;
use nix::unistd::{AccessFlags, access};

use crate::daemon::check::folder_of;

/// The pid file of this process. Dropping it removes the file, unless another process has written
/// its own process ID.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Checks that the file can be written, so that an error is found before the daemon serves.
    /// Writes nothing: a daemon that is killed while it starts leaves no file.
    ///
    /// # Errors
    /// If its folder cannot be written, or is missing, or the path is that of a folder.
    pub(super) fn prepare(path: &Path) -> io::Result<Self> {
        access(folder_of(path), AccessFlags::W_OK | AccessFlags::X_OK)?;
        if path.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Self {
            path: path.to_owned(),
        })
    }

    /// Writes the process ID at once and as a whole: beside the path, then in its place.
    ///
    /// # Errors
    /// If the file cannot be written or renamed.
    pub(super) fn publish(&self) -> io::Result<()> {
        let pid = std::process::id();
        let name = self.path.file_name().unwrap_or_default();
        let name = name.to_string_lossy();
        let temporary = self.path.with_file_name(format!(".{name}-{pid}"));
        let written = fs::write(&temporary, format!("{pid}\n"))
            .and_then(|()| fs::rename(&temporary, &self.path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let own = std::process::id().to_string();
        if fs::read_to_string(&self.path).is_ok_and(|pid| pid.trim() == own)
            && let Err(e) = fs::remove_file(&self.path)
        {
            warn!("cannot remove pid file {}: {e}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_appears_when_published_and_goes_with_its_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.pid");
        let file = PidFile::prepare(&path).unwrap();
        // A daemon that is killed now leaves nothing.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        file.publish().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_file_that_cannot_be_written_is_found_before() {
        let folder = tempfile::tempdir().unwrap();
        PidFile::prepare(folder.path()).unwrap_err();
        PidFile::prepare(&folder.path().join("missing/d.pid")).unwrap_err();
    }

    #[test]
    fn the_file_of_another_process_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d.pid");
        fs::write(&path, "1\n").unwrap();
        drop(PidFile::prepare(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        let file = PidFile::prepare(&path).unwrap();
        file.publish().unwrap();
        fs::write(&path, "1\n").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
