//! What the disk takes to make a write durable. A billed call waits for it twice: for its hold and
//! for its capture.

use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Instant;

use crate::load::percentile;

/// Writes that are timed.
const WRITES: usize = 100;
/// Bytes of one write: a page of the database.
const PAGE_BYTES: usize = 4_096;

/// The median time of a 4 KiB write and its `fsync`, in microseconds. Pages of a file that is there
/// already are written over, as the ledger's write-ahead log does once it has grown.
pub(crate) fn fsync_p50_us(folder: &Path) -> anyhow::Result<u64> {
    let mut file = tempfile::tempfile_in(folder)?;
    file.write_all(&vec![0; WRITES * PAGE_BYTES])?;
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    let page = [0xA5; PAGE_BYTES];
    let mut times_us = Vec::with_capacity(WRITES);
    for _ in 0..WRITES {
        let began = Instant::now();
        file.write_all(&page)?;
        file.sync_all()?;
        times_us.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    times_us.sort_unstable();
    Ok(percentile(&times_us, 50))
}
