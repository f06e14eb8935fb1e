//! The data folder: everything that a server keeps, and the lock that keeps others out.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Uploads are written under this prefix before they get their name.
const UPLOAD_PREFIX: &str = ".upload-";
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
    /// No random bytes for the operator's token.
    #[error("no random bytes for the operator's token")]
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
        create_private(&path.join("artifacts")).map_err(failed)?;
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

    /// The operator's token; the first start makes one.
    pub(crate) fn operator_token(&self) -> Result<String, FolderError> {
        let path = self.path.join("operator.token");
        let failed = |source| FolderError::Io { path: path.clone(), source };
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let mut random = [0_u8; 32];
        getrandom::fill(&mut random).map_err(FolderError::Random)?;
        let token = format!("{TOKEN_PREFIX}{}", hex::encode(random));
        // A temporary file is readable by its owner only, and so is what it is renamed to.
        write_whole(&self.path, &path, token.as_bytes()).map_err(failed)?;
        Ok(token)
    }

    /// Keeps a component under its digest; false when it was there already. It is there whole or
    /// not at all, also after a crash.
    pub(crate) fn write_artifact(&self, digest: &str, bytes: &[u8]) -> Result<bool, FolderError> {
        let path = self.artifact(digest);
        if path.exists() {
            return Ok(false);
        }
        write_whole(&self.path.join("artifacts"), &path, bytes)
            .map(|()| true)
            .map_err(|source| FolderError::Io { path, source })
    }

    /// Reads a component.
    pub(crate) fn read_artifact(&self, digest: &str) -> Result<Vec<u8>, FolderError> {
        let path = self.artifact(digest);
        fs::read(&path).map_err(|source| FolderError::Io { path, source })
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
        assert!(folder.write_artifact("abc", b"bytes").unwrap());
        assert!(!folder.write_artifact("abc", b"bytes").unwrap());
        assert_eq!(folder.read_artifact("abc").unwrap(), b"bytes");
        folder.remove_artifact("abc");
        assert!(folder.read_artifact("abc").is_err());
    }
}
