//! Where pulled models lie: `ROOT/ORG/NAME/COMMIT/…`, and beside the commits what is unfinished.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::error::HubError;
use super::listing::{RemoteFile, RepoPath};
use super::reference::Reference;
use crate::folder::create_private;

/// The folder of what is unfinished. Names of commits and of repositories never begin with a dot.
const PARTIAL: &str = ".partial";

/// The folder of one commit, and the right to write to its repository's folder.
#[derive(Debug)]
pub(super) struct Place {
    commit: String,
    folder: PathBuf,
    partial: PathBuf,
    /// Two pulls that write the same file would give one that is neither's. Held until dropped.
    _lock: File,
}

/// The folder of a commit.
pub(super) fn folder(root: &Path, reference: &Reference, commit: &str) -> PathBuf {
    root.join(&reference.org).join(&reference.name).join(commit)
}

impl Place {
    /// Creates the folders and locks them.
    pub(super) fn open(root: &Path, reference: &Reference, commit: &str) -> Result<Self, HubError> {
        let folder = folder(root, reference, commit);
        let partial = root.join(&reference.org).join(&reference.name).join(PARTIAL);
        for path in [&folder, &partial] {
            create_private(path).map_err(|source| failed(path, source))?;
        }
        let path = partial.join("LOCK");
        let mut options = OpenOptions::new();
        let options = options.create(true).truncate(false).write(true);
        let lock = options.open(&path).map_err(|source| failed(&path, source))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { commit: commit.to_owned(), folder, partial, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(HubError::InUse(partial)),
            Err(TryLockError::Error(source)) => Err(failed(&path, source)),
        }
    }

    /// The commit whose files are here.
    pub(super) fn commit(&self) -> &str {
        &self.commit
    }

    /// Where a file will be.
    pub(super) fn path(&self, path: &RepoPath) -> PathBuf {
        self.folder.join(path.as_str())
    }

    /// Where it is until it is whole. The name is the hash that it must have: bytes of another
    /// commit's file never get into it, and those of the same file are not downloaded twice.
    pub(super) fn partial(&self, file: &RemoteFile) -> PathBuf {
        self.partial.join(file.checksum.hex())
    }
}

/// An error about a file.
pub(super) fn failed(path: &Path, source: std::io::Error) -> HubError {
    HubError::File { path: path.to_owned(), source }
}
