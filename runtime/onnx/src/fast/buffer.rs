//! Fresh memory costs a page fault a page, which is more than many an operator takes: what a node's
//! values leave is used by those that follow.

use std::cell::RefCell;

/// Values that are worth keeping: smaller ones the allocator keeps itself.
const VALUES_MIN: usize = 1 << 14;
/// Buffers that are kept at most.
const BUFFERS_MAX: usize = 16;

thread_local! {
    static KEPT: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// So many values, with anything in them.
pub(crate) fn take(len: usize) -> Vec<f32> {
    if len < VALUES_MIN {
        return vec![0.0; len];
    }
    let found = KEPT.with_borrow_mut(|kept| {
        // The smallest that will do and is not much too large.
        let fits =
            kept.iter().enumerate().filter(|(_, b)| b.capacity() >= len && b.capacity() / 4 <= len);
        let best = fits.min_by_key(|(_, buffer)| buffer.capacity()).map(|(at, _)| at)?;
        Some(kept.swap_remove(best))
    });
    // New memory is zeros without being filled.
    let Some(mut buffer) = found else { return vec![0.0; len] };
    buffer.truncate(len);
    buffer.resize(len, 0.0);
    buffer
}

/// Keeps memory for those that follow.
pub(crate) fn give(buffer: Vec<f32>) {
    if buffer.capacity() < VALUES_MIN {
        return;
    }
    KEPT.with_borrow_mut(|kept| {
        kept.push(buffer);
        if kept.len() > BUFFERS_MAX {
            kept.remove(0);
        }
    });
}

/// Forgets what is kept: at the end of a run.
pub(crate) fn clear() {
    KEPT.with_borrow_mut(Vec::clear);
}
