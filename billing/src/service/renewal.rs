//! Certificate files, read again when they have changed: who replaces them needs no restart.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use super::error::ServiceError;
use super::tls::TlsFiles;
use super::wire::chain;

/// Makes a configuration from the files.
type Read<T> = Box<dyn Fn(&TlsFiles) -> Result<Arc<T>, ServiceError> + Send + Sync>;

/// A configuration that is as new as its files. New connections get the newest one; those that
/// are open go on with theirs.
pub(super) struct Renewed<T> {
    files: TlsFiles,
    read: Read<T>,
    known: Mutex<Known<T>>,
}

struct Known<T> {
    stamps: Stamps,
    config: Arc<T>,
}

/// What tells one content of the three files from another.
type Stamps = [Option<Stamp>; 3];

#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    inode: u64,
}

impl<T: Send + Sync + 'static> Renewed<T> {
    /// Reads the files. Blocking.
    pub(super) fn new(
        files: TlsFiles,
        read: impl Fn(&TlsFiles) -> Result<Arc<T>, ServiceError> + Send + Sync + 'static,
    ) -> Result<Arc<Renewed<T>>, ServiceError> {
        // The stamps are taken first: a change while the files are read is seen the next time.
        let stamps = stamps(&files);
        let config = read(&files)?;
        let known = Mutex::new(Known { stamps, config });
        Ok(Arc::new(Renewed { files, read: Box::new(read), known }))
    }

    /// The configuration for a new connection.
    pub(super) async fn current(self: &Arc<Self>) -> Arc<T> {
        let this = Arc::clone(self);
        // The files may lie on a slow disk.
        let looked = tokio::task::spawn_blocking(move || this.look()).await;
        looked.unwrap_or_else(|_ended| self.with(|known| Arc::clone(&known.config)))
    }

    /// Files that are not all replaced yet, or no good, change nothing.
    fn look(&self) -> Arc<T> {
        self.with(|known| {
            let stamps = stamps(&self.files);
            if stamps != known.stamps {
                self.renew(known, stamps);
            }
            Arc::clone(&known.config)
        })
    }

    fn renew(&self, known: &mut Known<T>, stamps: Stamps) {
        match (self.read)(&self.files) {
            Ok(config) => {
                *known = Known { stamps, config };
                tracing::info!("the certificates of the billing service were read again");
            }
            Err(error) => {
                let error = chain(&error);
                tracing::warn!(%error, "the former certificates stand");
            }
        }
    }

    /// A panic while the lock was held leaves one whole configuration or the other.
    fn with<O>(&self, look: impl FnOnce(&mut Known<T>) -> O) -> O {
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> std::fmt::Debug for Renewed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Renewed").field("files", &self.files).finish_non_exhaustive()
    }
}

fn stamps(files: &TlsFiles) -> Stamps {
    [&files.ca, &files.certificate, &files.key].map(|file| stamp(file))
}

/// `None` where there is no such file, which reading it will tell.
fn stamp(file: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(file).ok()?;
    let modified = metadata.modified().ok();
    Some(Stamp { modified, bytes: metadata.len(), inode: metadata.ino() })
}
