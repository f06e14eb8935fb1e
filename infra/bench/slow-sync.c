/*
 * A simulated disk: every sync takes at least EMBERBOX_SLOW_SYNC_US microseconds.
 *
 * Virtual machines often acknowledge a sync from a cache in a fraction of a millisecond, where a
 * disk that really keeps the bytes takes several. A figure measured on the former says nothing
 * about the latter. `emberbox-bench --sync-us N` builds this file and preloads it into itself and
 * into the PostgreSQL servers that it starts:
 *
 *   cc -shared -fPIC -O2 -o slow-sync.so slow-sync.c
 *   EMBERBOX_SLOW_SYNC_US=4000 LD_PRELOAD=./slow-sync.so PROGRAM
 *
 * The real call is made first, and what is missing to N microseconds is slept afterwards, so a
 * disk that is slower than N stays as slow as it is. Only calls that promise to wait for the disk
 * are delayed: msync with MS_SYNC, sync_file_range with SYNC_FILE_RANGE_WAIT_AFTER, fsync,
 * fdatasync, syncfs and sync always. Files opened with O_SYNC or O_DSYNC are not covered; neither
 * SQLite nor PostgreSQL opens them so by default on Linux.
 *
 * What it does not simulate: syncs of different files do not wait for each other, and writes take
 * no longer than they do.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define NANOSECONDS_PER_SECOND 1000000000L
/* A minute: more is a mistake. */
#define DELAY_US_MAX 60000000L

static long delay_us(void)
{
    static long known = -1;
    /* Two threads that come here first at once read the same value. */
    if (known < 0) {
        const char *text = getenv("EMBERBOX_SLOW_SYNC_US");
        long value = text ? strtol(text, NULL, 10) : 0;
        known = value < 0 ? 0 : value > DELAY_US_MAX ? DELAY_US_MAX : value;
    }
    return known;
}

static struct timespec now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time;
}

/* Sleeps until the delay since `began` is over, through signals, and keeps errno as it was. */
static void wait_since(struct timespec began)
{
    int before = errno;
    long nanoseconds = began.tv_nsec + delay_us() % 1000000L * 1000L;
    struct timespec end = {
        .tv_sec = began.tv_sec + delay_us() / 1000000L + nanoseconds / NANOSECONDS_PER_SECOND,
        .tv_nsec = nanoseconds % NANOSECONDS_PER_SECOND,
    };
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL) == EINTR) {
    }
    errno = before;
}

/* The next definition of a name: libc's. A race to find it finds the same one twice. */
#define REAL(name)                                             \
    static __typeof__(&name) real;                             \
    if (!real) {                                               \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name);     \
    }

int fsync(int file)
{
    REAL(fsync)
    struct timespec began = now();
    int outcome = real(file);
    wait_since(began);
    return outcome;
}

int fdatasync(int file)
{
    REAL(fdatasync)
    struct timespec began = now();
    int outcome = real(file);
    wait_since(began);
    return outcome;
}

int syncfs(int file)
{
    REAL(syncfs)
    struct timespec began = now();
    int outcome = real(file);
    wait_since(began);
    return outcome;
}

void sync(void)
{
    REAL(sync)
    struct timespec began = now();
    real();
    wait_since(began);
}

int msync(void *address, size_t length, int flags)
{
    REAL(msync)
    struct timespec began = now();
    int outcome = real(address, length, flags);
    if (flags & MS_SYNC) {
        wait_since(began);
    }
    return outcome;
}

int sync_file_range(int file, off64_t offset, off64_t length, unsigned int flags)
{
    REAL(sync_file_range)
    struct timespec began = now();
    int outcome = real(file, offset, length, flags);
    if (flags & SYNC_FILE_RANGE_WAIT_AFTER) {
        wait_since(began);
    }
    return outcome;
}
