//! The pid file of a daemon in the background: written when it serves, removed when it ends.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use log::warn;

/// The pid file of this process. Dropping it removes the file, unless another process has written
/// its own process ID.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    /// The file beside `path` that becomes it.
    temporary: PathBuf,
}

impl PidFile {
    /// Writes the process ID beside `path`, so that an error is found before the daemon serves.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn prepare(path: &Path) -> io::Result<Self> {
        let pid = std::process::id();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let temporary = path.with_file_name(format!(".{name}-{pid}"));
        fs::write(&temporary, format!("{pid}\n"))?;
        Ok(Self {
            path: path.to_owned(),
            temporary,
        })
    }

    /// Puts the file in its place, at once and as a whole.
    ///
    /// # Errors
    /// If the file cannot be renamed.
    pub(super) fn publish(&self) -> io::Result<()> {
        fs::rename(&self.temporary, &self.path)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.temporary);
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
        assert!(!path.exists());
        file.publish().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{}\n", std::process::id()));
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
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
