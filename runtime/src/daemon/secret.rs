//! Secret files: read, or made at the first start.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Bytes of randomness in a secret that is made here.
const SECRET_BYTES: usize = 32;
/// Shortest secret that is taken from a file, in characters.
const SHORTEST: usize = 16;

/// A secret file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It cannot be read or made.
    #[error("{file}: {cause}", file = .file.display())]
    Io {
        /// The file.
        file: PathBuf,
        /// What the system says.
        cause: io::Error,
    },
    /// What it holds is too short to be a secret.
    #[error("{file}: holds fewer than {SHORTEST} characters", file = .file.display())]
    Short {
        /// The file.
        file: PathBuf,
    },
}

/// Reads a secret; surrounding white space does not count. A file that does not exist is made, mode
/// 0600, with 256 random bits: if several daemons start at once, all of them end up with the same
/// one.
///
/// # Errors
/// When the file cannot be read or made, or holds too little.
pub fn read_or_create(file: &Path) -> Result<String, SecretError> {
    let io = |cause| SecretError::Io {
        file: file.to_owned(),
        cause,
    };
    let secret = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            create(file).map_err(io)?;
            fs::read_to_string(file).map_err(io)?
        }
        Err(e) => return Err(io(e)),
    };
    let secret = secret.trim();
    if secret.len() < SHORTEST {
        return Err(SecretError::Short {
            file: file.to_owned(),
        });
    }
    Ok(secret.to_owned())
}

/// Writes a whole file under another name first and links it: whoever comes first wins, and nobody
/// reads half a secret.
fn create(file: &Path) -> io::Result<()> {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    let random: [u8; SECRET_BYTES] = rand::random();
    let unfinished = folder.join(format!(
        ".secret-{}-{:016x}",
        std::process::id(),
        rand::random::<u64>()
    ));
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)?;
    let written = out
        .write_all(format!("{}\n", URL_SAFE_NO_PAD.encode(random)).as_bytes())
        .and_then(|()| out.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&unfinished, file));
    fs::remove_file(&unfinished)?;
    match linked {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_missing_secret_is_made_for_this_user_alone_and_then_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run/admin.token");
        let first = read_or_create(&file).unwrap();
        assert_eq!(first.len(), 43);
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(read_or_create(&file).unwrap(), first);
        assert_eq!(
            fs::read_dir(file.parent().unwrap()).unwrap().count(),
            1,
            "nothing else is left behind"
        );
    }

    #[test]
    fn daemons_that_start_together_agree() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("worker.token");
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let file = file.clone();
                std::thread::spawn(move || read_or_create(&file).unwrap())
            })
            .collect();
        let secrets: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
    }

    #[test]
    fn a_short_secret_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t");
        fs::write(&file, "short\n").unwrap();
        assert!(matches!(
            read_or_create(&file),
            Err(SecretError::Short { .. })
        ));
    }
}
