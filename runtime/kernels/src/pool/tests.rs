use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::{Pool, current};

/// How often each piece ran.
fn counts(pool: &Pool, pieces: usize) -> Vec<usize> {
    let counts: Vec<AtomicUsize> = (0..pieces).map(|_| AtomicUsize::new(0)).collect();
    pool.run(pieces, &|i| {
        counts[i].fetch_add(1, Ordering::Relaxed);
    });
    counts.into_iter().map(AtomicUsize::into_inner).collect()
}

#[test]
fn every_piece_runs_once() {
    for threads in [0, 1, 2, 3, 8] {
        let pool = Pool::new(threads);
        assert_eq!(pool.threads(), threads.max(1));
        for pieces in [0, 1, 2, 3, 7, 64, 1000] {
            assert_eq!(counts(&pool, pieces), vec![1; pieces], "{threads} threads");
        }
    }
}

#[test]
fn several_threads_work_on_one_job() {
    let pool = Pool::new(3);
    let arrived = AtomicUsize::new(0);
    // No piece ends before all three have begun, so no thread can do two.
    pool.run(3, &|_| {
        arrived.fetch_add(1, Ordering::SeqCst);
        while arrived.load(Ordering::SeqCst) < 3 {
            thread::yield_now();
        }
    });
}

#[test]
fn workers_that_slept_wake_up() {
    let pool = Pool::new(2);
    let asleep = || pool.shared.sleepers[0].asleep.load(Ordering::SeqCst);
    for _ in 0..3 {
        while !asleep() {
            thread::yield_now();
        }
        let arrived = AtomicUsize::new(0);
        pool.run(2, &|_| {
            arrived.fetch_add(1, Ordering::SeqCst);
            while arrived.load(Ordering::SeqCst) < 2 {
                thread::yield_now();
            }
        });
    }
}

#[test]
fn a_caller_that_slept_is_woken_by_the_last_worker() {
    let pool = Pool::new(2);
    let worker_is_in = AtomicBool::new(false);
    let caller = thread::current().id();
    pool.run(2, &|_| {
        if thread::current().id() == caller {
            while !worker_is_in.load(Ordering::SeqCst) {
                thread::yield_now();
            }
        } else {
            worker_is_in.store(true, Ordering::SeqCst);
            while !pool.shared.waiting.load(Ordering::SeqCst) {
                thread::yield_now();
            }
        }
    });
    assert!(!pool.shared.waiting.load(Ordering::SeqCst));
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
    for threads in [1, 2, 4] {
        let pool = Pool::new(threads);
        for bad in [0, 5, 31] {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                pool.run(32, &|i| assert_ne!(i, bad, "piece {bad}"));
            }));
            let message = caught.unwrap_err().downcast::<String>().unwrap();
            assert!(message.contains(&format!("piece {bad}")), "{message}");
            assert_eq!(counts(&pool, 40), vec![1; 40]);
        }
    }
}

#[test]
fn a_run_within_a_piece_is_done_by_its_thread() {
    let pool = Pool::new(4);
    let inner = AtomicUsize::new(0);
    pool.run(8, &|_| {
        let thread = thread::current().id();
        pool.run(10, &|_| {
            assert_eq!(thread::current().id(), thread);
            inner.fetch_add(1, Ordering::Relaxed);
        });
    });
    assert_eq!(inner.into_inner(), 80);
}

#[test]
fn callers_at_the_same_time_all_finish() {
    let pool = Pool::new(3);
    thread::scope(|scope| {
        for _ in 0..6 {
            let call = || assert_eq!(counts(&pool, 17), vec![1; 17]);
            scope.spawn(move || (0..200).for_each(|_| call()));
        }
    });
}

#[test]
fn more_threads_than_cores_among_busy_neighbours_finish() {
    let cores = thread::available_parallelism().map_or(2, usize::from);
    let pool = Pool::new(4 * cores);
    let done = AtomicBool::new(false);
    let neighbour = || {
        while !done.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    };
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(neighbour);
        }
        for _ in 0..300 {
            assert_eq!(counts(&pool, 64), vec![1; 64]);
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn the_current_pool_is_the_one_entered_last() {
    let threads = || current(Pool::threads);
    assert_eq!(threads(), 1);
    {
        let _outer = Pool::enter(Arc::new(Pool::new(2)));
        assert_eq!(threads(), 2);
        {
            let _inner = Pool::enter(Arc::new(Pool::new(3)));
            assert_eq!(threads(), 3);
        }
        assert_eq!(threads(), 2);
        assert_eq!(thread::spawn(|| current(Pool::threads)).join().unwrap(), 1);
    }
    assert_eq!(threads(), 1);
}
