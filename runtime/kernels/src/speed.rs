//! Clocks for the tests that print speeds.

use std::time::Instant;

/// Seconds of a run: the fastest of several, in processor time on one thread, so that a busy
/// machine does not count, and by the wall on more.
pub(crate) fn fastest(threads: usize, runs: usize, mut run: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..runs {
        let (wall, own) = (Instant::now(), own_seconds());
        run();
        let wall = wall.elapsed().as_secs_f64();
        let own = own_seconds() - own;
        best = best.min(if threads == 1 && own > 0.0 { own } else { wall });
    }
    best
}

/// Processor time of this thread, or 0 where it is not known.
fn own_seconds() -> f64 {
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    {
        #[repr(C)]
        struct Time {
            seconds: i64,
            nanoseconds: i64,
        }
        unsafe extern "C" {
            fn clock_gettime(clock: i32, time: *mut Time) -> i32;
        }
        const THREAD_CPUTIME: i32 = 3;
        let mut time = Time { seconds: 0, nanoseconds: 0 };
        // SAFETY: the C library fills the struct, which has its layout on 64-bit Linux.
        let failed = unsafe { clock_gettime(THREAD_CPUTIME, &raw mut time) } != 0;
        if failed { 0.0 } else { time.seconds as f64 + time.nanoseconds as f64 * 1e-9 }
    }
    #[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
    0.0
}
