use std::any::Any;
use std::cell::{RefCell, UnsafeCell};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long a thread spins for the next event: the time between two layers of a decode step.
const SPIN: Duration = Duration::from_micros(30);
/// How long it then offers its core to others before it sleeps.
const YIELD: Duration = Duration::from_micros(150);
/// Spins between two looks at the clock.
const SPINS: u32 = 64;

type Work<'a> = dyn Fn(usize) + Sync + 'a;
type Panic = Box<dyn Any + Send>;

/// Persistent threads for loops of some microseconds; the caller of [`Pool::run`] is one of them.
///
/// Pieces are handed out one by one, so a thread whose core is taken away delays only the piece
/// that it holds. Idle threads spin briefly, then yield, then park: waking is fast within a
/// forward pass, and an idle or crowded machine loses nothing.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

/// What workers and callers see.
struct Shared {
    /// The number of jobs opened and closed (odd: one is open) above [`EPOCH_SHIFT`], and below
    /// it the workers that are inside.
    gate: AtomicU64,
    /// The open job. Written only while the gate is closed and nobody is inside.
    job: UnsafeCell<Job>,
    /// The next piece to take.
    next: AtomicUsize,
    /// Whether some caller has the workers.
    taken: AtomicBool,
    stop: AtomicBool,
    sleepers: Box<[Sleeper]>,
    /// The caller, while it sleeps until the last worker is out.
    waiting: AtomicBool,
    waiter: Mutex<Option<Thread>>,
    panic: Mutex<Option<Panic>>,
}

#[derive(Clone, Copy)]
struct Job {
    work: &'static Work<'static>,
    pieces: usize,
}

#[derive(Default)]
struct Sleeper {
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

const EPOCH_SHIFT: u32 = 32;
const EPOCH: u64 = 1 << EPOCH_SHIFT;

fn epoch(gate: u64) -> u64 {
    gate >> EPOCH_SHIFT
}

fn inside(gate: u64) -> u64 {
    gate & (EPOCH - 1)
}

fn is_open(gate: u64) -> bool {
    epoch(gate) % 2 == 1
}

// SAFETY: all fields but `job` are Sync. `job` is written by the one caller that has `taken`,
// while the gate is closed and empty; workers read it only between entering the open gate and
// leaving it, and the gate's Release and Acquire order the two.
unsafe impl Sync for Shared {}

impl Pool {
    /// A pool of `threads`, of which one is whoever calls [`Pool::run`]; at least that one.
    ///
    /// When the system refuses a thread, the pool has fewer.
    pub fn new(threads: usize) -> Self {
        let count = threads.max(1) - 1;
        let shared = Arc::new(Shared {
            gate: AtomicU64::new(0),
            job: UnsafeCell::new(Job { work: &|_| (), pieces: 0 }),
            next: AtomicUsize::new(0),
            taken: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            sleepers: (0..count).map(|_| Sleeper::default()).collect(),
            waiting: AtomicBool::new(false),
            waiter: Mutex::new(None),
            panic: Mutex::new(None),
        });
        let spawn = |index: usize| {
            let shared = Arc::clone(&shared);
            let builder = thread::Builder::new().name(format!("kernels-{}", index + 1));
            builder.spawn(move || shared.serve(&shared.sleepers[index])).ok()
        };
        let workers = (0..count).map_while(spawn).collect();
        Self { shared, workers }
    }

    /// Threads that a job may use, with the caller.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `work(i)` for each `i` in `0..pieces` once, on any thread; returns when all are done.
    ///
    /// While another caller has the workers, or within a piece, the caller does all pieces alone.
    /// A panic in a piece reaches the caller, when the other threads have left the job; pieces
    /// that nobody had begun are then left out.
    pub fn run(&self, pieces: usize, work: &(dyn Fn(usize) + Sync)) {
        let shared = &*self.shared;
        let alone = pieces < 2 || self.workers.is_empty();
        if alone || shared.taken.swap(true, Ordering::Acquire) {
            return (0..pieces).for_each(work);
        }
        // SAFETY: only the lifetime changes. `close` returns when no worker is inside and none
        // can enter, so nobody uses the reference after this function; `work_off` catches panics,
        // so nothing unwinds past `close`.
        let forever = unsafe { std::mem::transmute::<&Work<'_>, &'static Work<'static>>(work) };
        let job = Job { work: forever, pieces };
        shared.open(job);
        shared.work_off(job);
        shared.close();
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        shared.taken.store(false, Ordering::Release);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Runs `work(i, part)` for each part of `len` values; the last may be shorter.
    ///
    /// # Panics
    /// When `len` is zero and there are values.
    pub fn parts<T: Send>(
        &self,
        all: &mut [T],
        len: usize,
        work: &(dyn Fn(usize, &mut [T]) + Sync),
    ) {
        let count = all.len();
        let all = crate::shared::Shared::new(all);
        self.run(count.div_ceil(len), &|i| {
            // SAFETY: the parts are disjoint.
            work(i, unsafe { all.part(i * len..count.min((i + 1) * len)) });
        });
    }

    /// Makes this the calling thread's pool, which [`current`] gives, until the guard is dropped.
    #[must_use = "the pool is current until the guard is dropped"]
    pub fn enter(pool: Arc<Self>) -> Entered {
        Entered { before: CURRENT.replace(Some(pool)) }
    }
}

impl Shared {
    fn open(&self, job: Job) {
        // SAFETY: the caller has `taken`, the gate is closed, and nobody is inside: `close` of
        // the job before waited for that.
        unsafe { *self.job.get() = job };
        self.next.store(0, Ordering::Relaxed);
        self.gate.fetch_add(EPOCH, Ordering::SeqCst);
        for sleeper in self.sleepers.iter().take(job.pieces - 1) {
            sleeper.wake();
        }
    }

    /// Takes pieces until there are no more.
    fn work_off(&self, job: Job) {
        let take = || self.next.fetch_add(1, Ordering::Relaxed);
        let pieces = std::iter::repeat_with(take).take_while(|piece| *piece < job.pieces);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| pieces.for_each(job.work))) {
            self.next.store(job.pieces, Ordering::Relaxed);
            let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert(panic);
        }
    }

    /// Lets no more workers in, and waits until those inside have left.
    fn close(&self) {
        self.gate.fetch_add(EPOCH, Ordering::SeqCst);
        let left = || inside(self.gate.load(Ordering::SeqCst)) == 0;
        if wait(left) {
            return;
        }
        *self.waiter.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread::current());
        self.waiting.store(true, Ordering::SeqCst);
        while !left() {
            thread::park();
        }
        self.waiting.store(false, Ordering::SeqCst);
    }

    /// A worker's life.
    fn serve(&self, me: &Sleeper) {
        me.thread.get_or_init(thread::current);
        let mut seen = 0;
        let news = |seen: u64| {
            let gate = self.gate.load(Ordering::SeqCst);
            self.stop.load(Ordering::SeqCst) || (is_open(gate) && epoch(gate) != seen)
        };
        loop {
            while !wait(|| news(seen)) {
                me.sleep(|| news(seen));
            }
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            if let Some(epoch) = self.join(seen) {
                seen = epoch;
            }
        }
    }

    /// Enters an open job other than `seen`, works, and leaves; gives the job's epoch.
    fn join(&self, seen: u64) -> Option<u64> {
        let enter = |gate| (is_open(gate) && epoch(gate) != seen).then_some(gate + 1);
        let gate = self.gate.try_update(Ordering::SeqCst, Ordering::SeqCst, enter).ok()?;
        // SAFETY: this thread is inside the open gate, so the job is not written before it leaves.
        let job = unsafe { *self.job.get() };
        self.work_off(job);
        let before = self.gate.fetch_sub(1, Ordering::SeqCst);
        let last = !is_open(before) && inside(before) == 1;
        if last && self.waiting.load(Ordering::SeqCst) {
            let waiter = self.waiter.lock().unwrap_or_else(PoisonError::into_inner);
            waiter.iter().for_each(Thread::unpark);
        }
        Some(epoch(gate))
    }
}

impl Sleeper {
    fn sleep(&self, news: impl Fn() -> bool) {
        self.asleep.store(true, Ordering::SeqCst);
        // Whoever opens a job after this look sees `asleep`.
        if !news() {
            thread::park();
        }
        self.asleep.store(false, Ordering::SeqCst);
    }

    fn wake(&self) {
        if self.asleep.load(Ordering::SeqCst) {
            self.thread.get().into_iter().for_each(Thread::unpark);
        }
    }
}

/// Spins, then yields, until `ready`; false when it is time to sleep.
fn wait(ready: impl Fn() -> bool) -> bool {
    let mut start = None;
    loop {
        for _ in 0..SPINS {
            if ready() {
                return true;
            }
            std::hint::spin_loop();
        }
        match start.get_or_insert_with(Instant::now).elapsed() {
            spun if spun < SPIN => {}
            waited if waited < SPIN + YIELD => thread::yield_now(),
            _ => return false,
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.sleepers.iter().for_each(Sleeper::wake);
        for worker in self.workers.drain(..) {
            // A worker catches the panics of its pieces, so joining cannot fail.
            drop(worker.join());
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads()).finish()
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Pool>>> = const { RefCell::new(None) };
}

/// While it lives, its pool is the thread's current one; then the one before is again.
#[derive(Debug)]
pub struct Entered {
    before: Option<Arc<Pool>>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.set(self.before.take());
    }
}

/// Gives `f` the calling thread's pool: the one it entered, else one of the calling thread alone.
pub fn current<R>(f: impl FnOnce(&Pool) -> R) -> R {
    let entered = CURRENT.with_borrow(Option::clone);
    match entered {
        Some(pool) => f(&pool),
        None => alone(f),
    }
}

/// A pool of the calling thread alone: for work within a piece.
pub fn alone<R>(f: impl FnOnce(&Pool) -> R) -> R {
    static ALONE: OnceLock<Pool> = OnceLock::new();
    f(ALONE.get_or_init(|| Pool::new(1)))
}

#[cfg(test)]
mod tests;
