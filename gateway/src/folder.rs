//! The data folder: everything that a server keeps, and the lock that keeps others out.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use emberbox_runtime::KEY_BYTES;
use sha2::{Digest, Sha256};

/// Uploads are written under this prefix before they get their name.
const UPLOAD_PREFIX: &str = ".upload-";
/// The file of the key that secrets are sealed under.
pub(crate) const SECRETS_KEY: &str = "secrets.key";
const TOKEN_PREFIX: &str = "op_";

/// An open data folder. The lock ends with the process, or when the last handle is dropped.
pub(crate) struct Folder {
    path: PathBuf,
    lock: File,
}

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another server works in it.
    #[error("the data folder {} is in use by another server", .0.display())]
    InUse(PathBuf),
    /// The system refused.
    #[error("the data folder {} cannot be used", path.display())]
    Io {
        /// The folder or the file in it.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No random bytes for a secret.
    #[error("no random bytes for a secret of the server")]
    Random(#[source] getrandom::Error),
}

impl Drop for Folder {
    /// Closing the file alone would not do: a child process that is just being started still has
    /// it open, and with it the lock.
    fn drop(&mut self) {
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(%error, "the data folder's lock goes with the process only");
        }
    }
}

impl Folder {
    /// Creates the folder where it does not exist, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, FolderError> {
        let failed = |source| FolderError::Io { path: path.to_owned(), source };
        create_private(path).map_err(failed)?;
        for part in ["artifacts", "compiled"] {
            create_private(&path.join(part)).map_err(failed)?;
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("LOCK"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FolderError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let folder = Folder { path: path.to_owned(), lock };
        folder.remove_unfinished().map_err(failed)?;
        Ok(folder)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn catalog(&self) -> PathBuf {
        self.path.join("catalog.db")
    }

    pub(crate) fn ledger(&self) -> PathBuf {
        self.path.join("ledger.db")
    }

    /// Where compiled components are kept. Nothing is lost with it: they are compiled again.
    pub(crate) fn compiled(&self) -> PathBuf {
        self.path.join("compiled")
    }

    /// The operator's token; the first start makes one.
    pub(crate) fn operator_token(&self) -> Result<String, FolderError> {
        self.secret("operator.token", TOKEN_PREFIX)
    }

    /// The key of the codes that compiled components carry; the first start makes one.
    pub(crate) fn artifact_key(&self) -> Result<[u8; KEY_BYTES], FolderError> {
        self.key("artifact.key")
    }

    /// The key that secrets of functions are sealed under; the first start makes one.
    pub(crate) fn secrets_key(&self) -> Result<[u8; 32], FolderError> {
        self.key(SECRETS_KEY)
    }

    fn key<const BYTES: usize>(&self, name: &str) -> Result<[u8; BYTES], FolderError> {
        let text = self.secret(name, "")?;
        let mut key = [0; BYTES];
        hex::decode_to_slice(&text, &mut key).map_err(|error| FolderError::Io {
            path: self.path.join(name),
            source: io::Error::new(io::ErrorKind::InvalidData, error),
        })?;
        Ok(key)
    }

    /// A secret in a file of its own: what it has, or 32 random bytes in hexadecimal, after the
    /// prefix.
    fn secret(&self, name: &str, prefix: &str) -> Result<String, FolderError> {
        let path = self.path.join(name);
        let failed = |source| FolderError::Io { path: path.clone(), source };
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random).map_err(FolderError::Random)?;
        let secret = format!("{prefix}{}", hex::encode(random));
        // A temporary file is readable by its owner only, and so is what it is renamed to.
        write_whole(&self.path, &path, secret.as_bytes()).map_err(failed)?;
        Ok(secret)
    }

    /// Keeps a component under its digest; false when it was there already. It is there whole or
    /// not at all, also after a crash.
    pub(crate) fn write_artifact(&self, digest: &str, bytes: &[u8]) -> Result<bool, FolderError> {
        if self.has_artifact(digest) {
            return Ok(false);
        }
        let path = self.artifact(digest);
        write_whole(&self.path.join("artifacts"), &path, bytes)
            .map(|()| true)
            .map_err(|source| FolderError::Io { path, source })
    }

    /// Whether a component is kept.
    pub(crate) fn has_artifact(&self, digest: &str) -> bool {
        self.artifact(digest).exists()
    }

    /// Reads a component, which must be what its name says.
    pub(crate) fn read_artifact(&self, digest: &str) -> Result<Vec<u8>, FolderError> {
        let path = self.artifact(digest);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(source) => return Err(FolderError::Io { path, source }),
        };
        if hex::encode(Sha256::digest(&bytes)) != digest {
            let source = io::Error::new(io::ErrorKind::InvalidData, "it was altered");
            return Err(FolderError::Io { path, source });
        }
        Ok(bytes)
    }

    /// Removes a component that nothing refers to any more.
    pub(crate) fn remove_artifact(&self, digest: &str) {
        let path = self.artifact(digest);
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(%error, path = %path.display(), "an artifact was left behind");
        }
    }

    fn artifact(&self, digest: &str) -> PathBuf {
        self.path.join("artifacts").join(format!("{digest}.wasm"))
    }

    /// A crash in the middle of an upload leaves a temporary file.
    fn remove_unfinished(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.path.join("artifacts"))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(UPLOAD_PREFIX) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Creates a folder, and those above it, for nobody else.
#[cfg(unix)]
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Creates a folder, and those above it.
#[cfg(not(unix))]
pub(crate) fn create_private(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

fn write_whole(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::Builder::new().prefix(UPLOAD_PREFIX).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    // The rename itself is durable only when the folder is.
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_server_per_folder_and_one_token_for_ever() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("a/b");
        let folder = Folder::open(&path).unwrap();
        let token = folder.operator_token().unwrap();
        assert!(matches!(Folder::open(&path), Err(FolderError::InUse(_))));
        drop(folder);
        fs::write(path.join("artifacts/.upload-x"), "half").unwrap();
        let folder = Folder::open(&path).unwrap();
        assert_eq!(folder.operator_token().unwrap(), token);
        assert_eq!(fs::read_dir(path.join("artifacts")).unwrap().count(), 0);
        let digest = hex::encode(Sha256::digest(b"bytes"));
        assert!(folder.write_artifact(&digest, b"bytes").unwrap());
        assert!(!folder.write_artifact(&digest, b"bytes").unwrap());
        assert_eq!(folder.read_artifact(&digest).unwrap(), b"bytes");
        fs::write(folder.artifact(&digest), b"Bytes").unwrap();
        let altered = folder.read_artifact(&digest).unwrap_err();
        assert!(matches!(altered, FolderError::Io { .. }), "{altered}");
        folder.remove_artifact(&digest);
        assert!(folder.read_artifact(&digest).is_err());
        let key = folder.artifact_key().unwrap();
        assert_eq!(folder.artifact_key().unwrap(), key);
        fs::write(path.join("artifact.key"), "short").unwrap();
        assert!(folder.artifact_key().is_err());
        let sealing = folder.secrets_key().unwrap();
        assert_eq!(folder.secrets_key().unwrap(), sealing);
        assert_ne!(sealing, key);
        // A key that was cut off is no reason to make another: what it sealed would be lost.
        fs::write(path.join("secrets.key"), "0f0f").unwrap();
        assert!(folder.secrets_key().is_err());
    }
}
