use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Bytes that are copied at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// Whether a new path would lie in a folder, by whatever way it is reached: links are followed,
/// and a folder that is mounted in a second place is the same one there.
pub(super) fn lies_within(new: &Path, folder: &Path) -> io::Result<bool> {
    let parent = new.parent().filter(|parent| !parent.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new(".")).canonicalize()?;
    let folder = folder.canonicalize()?;
    if parent.starts_with(&folder) {
        return Ok(true);
    }
    let mut own = vec![identity(&folder)?];
    for entry in fs::read_dir(&folder)? {
        let path: PathBuf = entry?.path();
        if path.is_dir() {
            own.push(identity(&path)?);
        }
    }
    for above in parent.ancestors() {
        if own.contains(&identity(above)?) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What a folder is, wherever it is mounted.
#[cfg(unix)]
fn identity(folder: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(folder)?;
    Ok((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn identity(folder: &Path) -> io::Result<PathBuf> {
    folder.canonicalize()
}

/// Copies a file into a new one that only its owner can read; gives its length and its sum.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<(u64, String)> {
    let mut source = File::open(from)?;
    let mut target = create_new(to)?;
    let sum = through(&mut source, |chunk| target.write_all(chunk))?;
    target.sync_all()?;
    Ok(sum)
}

/// The length of a file and its SHA-256.
pub(super) fn through(
    source: &mut File,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(u64, String)> {
    let (mut hash, mut bytes) = (Sha256::new(), 0_u64);
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let count = source.read(&mut buffer)?;
        let chunk = buffer.get(..count).unwrap_or_default();
        if chunk.is_empty() {
            return Ok((bytes, hex::encode(hash.finalize())));
        }
        hash.update(chunk);
        bytes += count as u64;
        take(chunk)?;
    }
}

#[cfg(unix)]
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

#[cfg(not(unix))]
pub(super) fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// A folder that may be there already.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    match create_folder(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        created => created,
    }
}

#[cfg(unix)]
pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(path)
}

#[cfg(not(unix))]
pub(super) fn create_folder(path: &Path) -> io::Result<()> {
    fs::create_dir(path)
}

pub(super) fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_folders(&path)?;
        }
    }
    sync(folder)
}

pub(super) fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
