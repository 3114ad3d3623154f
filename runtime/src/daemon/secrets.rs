//! Secret files, created at the first start.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::config::{ConfigError, ConfigFile};

/// Random bytes of a created secret.
const SECRET_BYTES: usize = 32;
/// Length of the shortest accepted secret, in characters.
const SHORTEST: usize = 16;

/// A secret file cannot be used.
#[derive(Debug, thiserror::Error)]
enum SecretError {
    /// The file cannot be read or created.
    #[error("{file}: {cause}", file = .file.display())]
    Io { file: PathBuf, cause: io::Error },
    /// The secret is too short.
    #[error("{file}: has fewer than {SHORTEST} characters", file = .file.display())]
    Short { file: PathBuf },
}

/// Reads the secret file that `config` names under `key`. Surrounding white space is ignored.
/// Creates a missing file with mode 0600 and 256 random bits; daemons that start at once agree on
/// one secret.
///
/// # Errors
/// If the file cannot be read or created, or has too few characters.
pub fn read_or_create(config: &ConfigFile, key: &str, file: &Path) -> Result<String, ConfigError> {
    read(file).map_err(|e| config.fault_of(&file.display().to_string(), key, e))
}

fn read(file: &Path) -> Result<String, SecretError> {
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

/// Creates a secret file. The file is written under another name and then linked: the first process
/// wins, and no process reads a partial secret.
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
    let temporary = folder.join(format!(
        ".secret-{}-{:016x}",
        std::process::id(),
        rand::random::<u64>()
    ));
    let mut out = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    let written = out
        .write_all(format!("{}\n", URL_SAFE_NO_PAD.encode(random)).as_bytes())
        .and_then(|()| out.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&temporary, file));
    fs::remove_file(&temporary)?;
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
    fn a_missing_secret_is_created_for_this_user_alone_and_then_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("run/admin.token");
        let first = read(&file).unwrap();
        assert_eq!(first.len(), 43);
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(read(&file).unwrap(), first);
        assert_eq!(
            fs::read_dir(file.parent().unwrap()).unwrap().count(),
            1,
            "no other file stays"
        );
    }

    #[test]
    fn daemons_that_start_together_share_one_secret() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("worker.token");
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let file = file.clone();
                std::thread::spawn(move || read(&file).unwrap())
            })
            .collect();
        let secrets: Vec<_> = threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect();
        assert!(secrets.iter().all(|secret| *secret == secrets[0]));
    }

    #[test]
    fn a_short_secret_is_rejected() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("t");
        fs::write(&file, "short\n").unwrap();
        assert!(matches!(read(&file), Err(SecretError::Short { .. })));
    }
}
