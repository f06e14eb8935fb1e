//! Files are read, not mapped: a file that is cut short under a map would kill the process.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::InferenceError;

const CHUNK_BYTES: usize = 1 << 20;

/// Bytes that are read in pieces, each checked against the whole first.
#[derive(Debug)]
pub(crate) struct Blob {
    name: String,
    len: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    File(File),
    Static(&'static [u8]),
    Brought(Arc<[u8]>),
}

impl Blob {
    /// Opens a regular file of at most `bytes_max`.
    pub(crate) fn open(path: &Path, bytes_max: u64) -> Result<Self, InferenceError> {
        let name = path.display().to_string();
        let io = |source| InferenceError::Io { path: path.display().to_string(), source };
        let file = File::open(path).map_err(io)?;
        let metadata = file.metadata().map_err(io)?;
        if !metadata.is_file() {
            return Err(InferenceError::bad_model(name, "not a regular file"));
        }
        let len = metadata.len();
        if len > bytes_max {
            let reason = format!("{len} bytes are more than the limit of {bytes_max}");
            return Err(InferenceError::bad_model(name, reason));
        }
        Ok(Self { name, len, source: Source::File(file) })
    }

    /// Bytes of the binary itself.
    pub(crate) fn fixed(name: &str, bytes: &'static [u8]) -> Self {
        Self { name: name.to_owned(), len: bytes.len() as u64, source: Source::Static(bytes) }
    }

    /// Bytes that somebody has brought.
    pub(crate) fn brought(name: &str, bytes: &Arc<[u8]>) -> Self {
        let source = Source::Brought(Arc::clone(bytes));
        Self { name: name.to_owned(), len: bytes.len() as u64, source }
    }

    /// For messages.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// An error about this file.
    pub(crate) fn bad(&self, reason: impl Into<String>) -> InferenceError {
        InferenceError::bad_model(&self.name, reason)
    }

    /// Reads `len` bytes at `offset`; refused before anything is allocated if they are not there.
    pub(crate) fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>, InferenceError> {
        let end = offset.checked_add(len).filter(|end| *end <= self.len);
        let (Some(end), Ok(size)) = (end, usize::try_from(len)) else {
            let reason = format!("cut short: {len} bytes at {offset} of {}", self.len);
            return Err(self.bad(reason));
        };
        match &self.source {
            Source::Static(bytes) => Ok(bytes[offset as usize..end as usize].to_vec()),
            Source::Brought(bytes) => Ok(bytes[offset as usize..end as usize].to_vec()),
            Source::File(file) => {
                let mut buffer = vec![0; size];
                file.read_exact_at(&mut buffer, offset).map_err(|source| self.io(source))?;
                Ok(buffer)
            }
        }
    }

    /// Adds the whole content to a digest.
    pub(crate) fn digest_into(&self, digest: &mut Sha256) -> Result<(), InferenceError> {
        let mut offset = 0;
        while offset < self.len {
            let len = (self.len - offset).min(CHUNK_BYTES as u64);
            digest.update(self.read(offset, len)?);
            offset += len;
        }
        Ok(())
    }

    fn io(&self, source: std::io::Error) -> InferenceError {
        InferenceError::Io { path: self.name.clone(), source }
    }
}

/// A whole small file; `None` when it does not exist.
pub(crate) fn read_small(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, InferenceError> {
    let blob = match Blob::open(path, bytes_max) {
        Err(InferenceError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
            return Ok(None);
        }
        other => other?,
    };
    let Source::File(file) = &blob.source else { return Ok(None) };
    let mut bytes = Vec::new();
    // The file may grow while it is read: take no more than was allowed.
    file.take(bytes_max).read_to_end(&mut bytes).map_err(|source| blob.io(source))?;
    Ok(Some(bytes))
}

/// Lower-case hex of a finished digest.
pub(crate) fn hex(digest: Sha256) -> String {
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
