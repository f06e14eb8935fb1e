use std::marker::PhantomData;
use std::ops::Range;

/// A slice of which threads write disjoint parts at the same time.
#[derive(Debug)]
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    owner: PhantomData<&'a mut [T]>,
}

// SAFETY: whoever takes a part promises that nobody else has any of it, so that a part moves
// between threads as a `&mut [T]` would.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len(), owner: PhantomData }
    }

    /// # Safety
    /// Nobody else uses any of these values while the part lives.
    #[expect(clippy::mut_from_ref, reason = "disjointness is the caller's promise")]
    #[inline(always)]
    pub(crate) unsafe fn part(&self, range: Range<usize>) -> &mut [T] {
        assert!(range.start <= range.end && range.end <= self.len, "a part outside the slice");
        // SAFETY: the range is inside the slice, and the caller's alone.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// Where `range` starts, for single writes; the range is checked here.
    #[inline(always)]
    pub(crate) fn at(&self, range: Range<usize>) -> *mut T {
        assert!(range.start <= range.end && range.end <= self.len, "a part outside the slice");
        // SAFETY: the range is inside the slice.
        unsafe { self.start.add(range.start) }
    }
}
