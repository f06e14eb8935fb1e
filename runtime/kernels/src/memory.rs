//! Weights are read from end to end for every token. In pages of 4 KiB that is a walk of the page
//! tables every 64 cache lines, and hardware prefetchers stop at the end of each page; in pages of
//! 2 MiB decoding is a tenth to a half faster, the more so with more threads.

/// Smaller buffers are not worth a huge page.
const HUGE_BYTES_MIN: usize = 4 << 20;

/// At least `len` bytes of zeros, in huge pages where the system gives them; [`bytes`] writes to
/// them. No page is taken before it is written.
pub fn zeroed(len: usize) -> Vec<u128> {
    let mut words = vec![0; len.div_ceil(size_of::<u128>())];
    if len >= HUGE_BYTES_MIN {
        advise(bytes(&mut words));
    }
    words
}

/// The same memory as bytes.
pub fn bytes(words: &mut [u128]) -> &mut [u8] {
    // SAFETY: any bytes make a u128, and a u128 has no others; the length is that of the slice.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), size_of_val(words)) }
}

/// The same, to read.
pub fn read(words: &[u128]) -> &[u8] {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), size_of_val(words)) }
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
            let mut words = zeroed(len);
            let bytes = bytes(&mut words);
            assert_eq!(bytes.len(), len.next_multiple_of(16));
            assert!(bytes.iter().all(|byte| *byte == 0));
            bytes.fill(7);
            assert!(words.iter().all(|word| *word == u128::from_ne_bytes([7; 16])));
        }
    }
}
