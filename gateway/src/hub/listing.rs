//! What a repository holds at one commit, as its hub tells. All of it is checked here, once.

use serde::Deserialize;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::Watch;
use super::error::HubError;
use super::repository::Repository;

/// Pages of a listing; the hub puts up to 1,000 files on one.
const PAGES_MAX: usize = 50;
/// The longest path of a file, in bytes.
const PATH_BYTES_MAX: usize = 1024;
/// The longest name in a path, in bytes, as file systems have it.
const NAME_BYTES_MAX: usize = 255;

/// A commit and its files.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) commit: String,
    pub(super) files: Vec<RemoteFile>,
}

impl Snapshot {
    /// The file with this path.
    pub(super) fn file(&self, path: &str) -> Option<&RemoteFile> {
        self.files.iter().find(|file| file.path.as_str() == path)
    }
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RemoteFile {
    pub(super) path: RepoPath,
    pub(super) size_bytes: u64,
    pub(super) checksum: Checksum,
}

/// A path below a repository that stays below every folder it is joined to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RepoPath(String);

impl RepoPath {
    /// Checks a path as a hub gives it.
    pub(super) fn parse(text: &str) -> Result<Self, HubError> {
        // A colon makes a drive or a stream on some systems, a backslash a folder.
        let bad = |c: char| c.is_control() || matches!(c, '\\' | ':');
        let is_name =
            |name: &str| (1..=NAME_BYTES_MAX).contains(&name.len()) && name != "." && name != "..";
        if text.len() > PATH_BYTES_MAX || text.contains(bad) || !text.split('/').all(is_name) {
            let shown: String = text.chars().take(NAME_BYTES_MAX).collect();
            return Err(HubError::Refused(format!(
                "{shown:?} is not the name of a file below a folder"
            )));
        }
        Ok(Self(text.to_owned()))
    }

    /// The path, with slashes.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a file's bytes must hash to, in lower-case hex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Checksum {
    /// SHA-256 of the bytes: files in large-file storage (the specification of Git LFS).
    Sha256(String),
    /// SHA-1 over `blob SIZE\0` and the bytes: files in git itself (Pro Git, "Git Objects").
    GitBlob(String),
}

impl Checksum {
    /// The hash itself.
    pub(super) fn hex(&self) -> &str {
        match self {
            Self::Sha256(hex) | Self::GitBlob(hex) => hex,
        }
    }

    /// Which hash it is, for a person.
    pub(super) fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "SHA-256",
            Self::GitBlob(_) => "git's SHA-1",
        }
    }

    /// Begins to hash a file of this size.
    pub(super) fn begin(&self, size_bytes: u64) -> Hasher {
        match self {
            Self::Sha256(_) => Hasher::Sha256(Sha256::new()),
            Self::GitBlob(_) => {
                Hasher::GitBlob(Sha1::new_with_prefix(format!("blob {size_bytes}\0")))
            }
        }
    }
}

/// A hash in the making.
#[derive(Debug)]
pub(super) enum Hasher {
    Sha256(Sha256),
    GitBlob(Sha1),
}

impl Hasher {
    /// Takes in the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::GitBlob(hasher) => hasher.update(bytes),
        }
    }

    /// The hash, in lower-case hex.
    pub(super) fn finish(self) -> String {
        match self {
            Self::Sha256(hasher) => hex::encode(hasher.finalize()),
            Self::GitBlob(hasher) => hex::encode(hasher.finalize()),
        }
    }
}

/// `GET /api/models/ORG/NAME/revision/REVISION`
#[derive(Deserialize)]
struct Info {
    sha: String,
}

/// An entry of `GET /api/models/ORG/NAME/tree/COMMIT?recursive=true`
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    oid: String,
    #[serde(default)]
    size: u64,
    lfs: Option<LargeFile>,
}

/// Where the entry itself is a pointer, what it points to.
#[derive(Deserialize)]
struct LargeFile {
    oid: String,
    size: u64,
}

/// Asks what the revision is now, and what is in it.
pub(super) fn snapshot(repository: &Repository, watch: &dyn Watch) -> Result<Snapshot, HubError> {
    let url = repository.api("revision", &repository.reference().revision)?;
    let (Info { sha: commit }, _) = repository.json(&url, watch)?;
    if !is_hex(&commit, 40) {
        return Err(HubError::Refused(format!("{commit:?} is not a commit")));
    }
    let mut url = repository.api("tree", &commit)?;
    url.set_query(Some("recursive=true"));
    let mut files = Vec::new();
    for _ in 0..PAGES_MAX {
        let (entries, next): (Vec<Entry>, _) = repository.json(&url, watch)?;
        let entries = entries.into_iter().filter(|entry| entry.kind == "file");
        files.extend(entries.map(remote_file).collect::<Result<Vec<_>, _>>()?);
        let Some(next) = next else { return Ok(Snapshot { commit, files }) };
        url.set_query(Some(&next));
    }
    Err(HubError::Refused(format!("{} has too many files", repository.reference())))
}

fn remote_file(entry: Entry) -> Result<RemoteFile, HubError> {
    let path = RepoPath::parse(&entry.path)?;
    let (checksum, size_bytes) = match entry.lfs {
        Some(lfs) if is_hex(&lfs.oid, 64) => (Checksum::Sha256(lfs.oid), lfs.size),
        None if is_hex(&entry.oid, 40) => (Checksum::GitBlob(entry.oid), entry.size),
        _ => {
            let path = path.as_str();
            return Err(HubError::Refused(format!("{path} has no hash that can be checked")));
        }
    };
    Ok(RemoteFile { path, size_bytes, checksum })
}

fn is_hex(text: &str, digits: usize) -> bool {
    let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    text.len() == digits && text.bytes().all(is_digit)
}
