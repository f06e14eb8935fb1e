//! Weights are read from end to end for every token. In pages of 4 KiB that is a walk of the page
//! tables every 64 cache lines, and hardware prefetchers stop at the end of each page; in pages of
//! 2 MiB decoding is a tenth to a half faster, the more so with more threads.

/// Smaller buffers are not worth a huge page.
const HUGE_BYTES_MIN: usize = 4 << 20;

/// Zeros, in huge pages where the system gives them. No page is taken before it is written.
pub fn zeroed(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    if len >= HUGE_BYTES_MIN {
        advise(&mut bytes);
    }
    bytes
}

/// Asks for huge pages in what lies inside of the slice. It is a wish: without them all is as
/// before, only slower.
#[cfg(target_os = "linux")]
fn advise(bytes: &mut [u8]) {
    use rustix::mm::{Advice, madvise};

    let page = rustix::param::page_size();
    let start = bytes.as_mut_ptr();
    let skipped = start.align_offset(page);
    let len = bytes.len().saturating_sub(skipped) / page * page;
    // SAFETY: the range is inside the slice, which is borrowed, and the advice changes no content.
    let _wish = unsafe { madvise(start.wrapping_add(skipped).cast(), len, Advice::LinuxHugepage) };
}

#[cfg(not(target_os = "linux"))]
fn advise(_: &mut [u8]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_of_any_length_can_be_written() {
        for len in [0, 1, HUGE_BYTES_MIN - 1, HUGE_BYTES_MIN, HUGE_BYTES_MIN * 3 + 17] {
            let mut bytes = zeroed(len);
            assert_eq!((bytes.len(), bytes.iter().any(|byte| *byte != 0)), (len, false));
            bytes.fill(7);
            assert_eq!(bytes.iter().map(|byte| usize::from(*byte)).sum::<usize>(), 7 * len);
        }
    }
}
