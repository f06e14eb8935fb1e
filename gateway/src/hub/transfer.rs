//! One file: taken up where it stopped, hashed as it comes, renamed when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use http::StatusCode;
use url::Url;

use super::error::HubError;
use super::listing::{Hasher, RemoteFile};
use super::place::{Place, failed};
use super::repository::{Answer, Failure, Repository, text};
use super::{Event, Watch};

/// Bytes that are read and written at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// A try that brought so much was not in vain: a large file over a bad line gets as many as it needs.
const ADVANCE_BYTES_MIN: u64 = 1 << 20;

/// Brings a file to its place; gives how many bytes had to be downloaded for it.
pub(super) fn bring(
    repository: &Repository,
    place: &Place,
    file: &RemoteFile,
    watch: &dyn Watch,
) -> Result<u64, HubError> {
    let path = place.path(&file.path);
    if is_whole(&path, file)? {
        watch.see(&Event::Found(file.size_bytes));
        return Ok(0);
    }
    let mut partial = Partial::open(place.partial(file), file, watch)?;
    let url = repository.file(place.commit(), file.path.as_str())?;
    repository.patiently(watch, || partial.fill(repository, &url))?;
    partial.finish(&path)
}

/// Whether a file is there and has the right hash.
fn is_whole(path: &Path, file: &RemoteFile) -> Result<bool, HubError> {
    let open = match File::open(path) {
        Ok(open) => open,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(failed(path, source)),
    };
    let metadata = open.metadata().map_err(|source| failed(path, source))?;
    if !metadata.is_file() || metadata.len() != file.size_bytes {
        return Ok(false);
    }
    let mut hasher = file.checksum.begin(file.size_bytes);
    hash(&open, &mut hasher).map_err(|source| failed(path, source))?;
    Ok(hasher.finish() == file.checksum.hex())
}

/// Hashes the rest of a file; gives its length.
fn hash(mut file: &File, hasher: &mut Hasher) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut length = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(length),
            count => {
                hasher.update(buffer.get(..count).unwrap_or_default());
                length += count as u64;
            }
        }
    }
}

/// The beginning of a file.
struct Partial<'a> {
    path: PathBuf,
    open: File,
    expected: &'a RemoteFile,
    /// Over the bytes that are there.
    hasher: Hasher,
    have_bytes: u64,
    downloaded_bytes: u64,
    watch: &'a dyn Watch,
}

impl<'a> Partial<'a> {
    /// Opens what an earlier pull left, or begins.
    fn open(
        path: PathBuf,
        expected: &'a RemoteFile,
        watch: &'a dyn Watch,
    ) -> Result<Self, HubError> {
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let open = options.open(&path).map_err(|source| failed(&path, source))?;
        let mut hasher = expected.checksum.begin(expected.size_bytes);
        let have_bytes = hash(&open, &mut hasher).map_err(|source| failed(&path, source))?;
        let mut partial =
            Self { path, open, expected, hasher, have_bytes, downloaded_bytes: 0, watch };
        partial.watch.see(&Event::Found(have_bytes));
        if have_bytes > expected.size_bytes {
            partial.start_over()?;
        }
        Ok(partial)
    }

    /// Forgets what is there.
    fn start_over(&mut self) -> Result<(), HubError> {
        let emptied = self.open.set_len(0).and_then(|()| self.open.seek(SeekFrom::Start(0)));
        emptied.map_err(|source| failed(&self.path, source))?;
        self.watch.see(&Event::Lost(self.have_bytes));
        self.hasher = self.expected.checksum.begin(self.expected.size_bytes);
        self.have_bytes = 0;
        Ok(())
    }

    /// One try to get the rest.
    fn fill(&mut self, repository: &Repository, url: &Url) -> Result<(), Failure> {
        if self.have_bytes == self.expected.size_bytes {
            return Ok(());
        }
        let answer = repository.get(url, self.have_bytes)?;
        match answer.status {
            StatusCode::PARTIAL_CONTENT if self.goes_on(&answer) => {}
            // The whole file, from a server that knows no ranges.
            StatusCode::OK => {
                if self.have_bytes > 0 {
                    self.start_over()?;
                }
            }
            status => {
                self.start_over()?;
                let reason = format!("answered {status} for a range of another file");
                return Err(Failure::passing(&answer.host, &reason));
            }
        }
        self.take(answer)
    }

    /// Whether an answer begins where we are, in a file of the right size.
    fn goes_on(&self, answer: &Answer) -> bool {
        let last = self.expected.size_bytes.saturating_sub(1);
        let expected = format!("bytes {}-{last}/{}", self.have_bytes, self.expected.size_bytes);
        text(&answer.headers, "content-range") == Some(expected.as_str())
    }

    /// Writes what comes.
    fn take(&mut self, answer: Answer) -> Result<(), Failure> {
        let (host, began_at) = (answer.host, self.have_bytes);
        let mut reader = answer.body.into_reader();
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let ended = match reader.read(&mut buffer) {
                Ok(0) => "the file ended early".to_owned(),
                Ok(count) => {
                    self.append(buffer.get(..count).unwrap_or_default())?;
                    continue;
                }
                Err(error) => error.to_string(),
            };
            if self.have_bytes == self.expected.size_bytes {
                return Ok(());
            }
            let error = HubError::Unavailable { host, reason: ended };
            let advanced = self.have_bytes.saturating_sub(began_at) >= ADVANCE_BYTES_MIN;
            return Err(Failure::Passing { error, retry_after_s: None, advanced });
        }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), HubError> {
        let size = self.expected.size_bytes;
        if self.have_bytes + bytes.len() as u64 > size {
            return Err(self.discard(format!("it is longer than the {size} bytes it should have")));
        }
        self.open.write_all(bytes).map_err(|source| failed(&self.path, source))?;
        self.hasher.update(bytes);
        self.have_bytes += bytes.len() as u64;
        self.downloaded_bytes += bytes.len() as u64;
        self.watch.see(&Event::Came(bytes.len() as u64));
        Ok(())
    }

    /// Deletes what is no good, and says so.
    fn discard(&self, what: String) -> HubError {
        match fs::remove_file(&self.path) {
            Ok(()) => HubError::Broken { file: self.expected.path.as_str().to_owned(), what },
            Err(source) => failed(&self.path, source),
        }
    }

    /// Checks the hash and gives the file its name. It is there whole or not at all, also after a
    /// crash.
    fn finish(mut self, path: &Path) -> Result<u64, HubError> {
        let fresh = self.expected.checksum.begin(self.expected.size_bytes);
        let found = std::mem::replace(&mut self.hasher, fresh).finish();
        let checksum = &self.expected.checksum;
        if found != checksum.hex() {
            let (algorithm, expected) = (checksum.algorithm(), checksum.hex());
            let what = format!("its {algorithm} is {found} and should be {expected}");
            return Err(self.discard(what));
        }
        self.open.sync_all().map_err(|source| failed(&self.path, source))?;
        let folder = path.parent().unwrap_or(path);
        crate::folder::create_private(folder).map_err(|source| failed(folder, source))?;
        fs::rename(&self.path, path).map_err(|source| failed(path, source))?;
        // The rename itself is durable only when the folder is.
        let synced = File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(|source| failed(folder, source))?;
        Ok(self.downloaded_bytes)
    }
}
