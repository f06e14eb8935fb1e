/*
 * Storage faults for one process: preloaded into `emberbox serve`, it makes chosen writes or syncs
 * of the ledger's files fail, or tears one write in half and kills the process.
 *
 *   cc -shared -fPIC -O2 -o faults.so faults.c
 *   EMBERBOX_CHAOS_FAULT=sync-eio:120:1 EMBERBOX_CHAOS_LOG=/tmp/fault LD_PRELOAD=./faults.so PROGRAM
 *
 * The fault is KIND:FIRST:COUNT: of all writes (or syncs) of the ledger's files since the start,
 * COUNT fail from the FIRST on, counted from 1. Kinds: sync-eio, sync-enospc, write-eio,
 * write-enospc, and tear, which counts writes of the write-ahead log only, writes half of the
 * FIRST one and kills the process. The first time that it strikes it appends a line to the log:
 * what was struck, such as "sync of wal in a commit".
 *
 * The ledger's files are those opened as ".../ledger.db", with "-wal" or "-journal" behind it.
 * The shared index (-shm) is memory and never synced. What it does not simulate: pages that the
 * kernel drops after a failed sync stay in its cache here, so a file that is read back looks
 * better than it would be after a power cut.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define FILES_MAX 65536

enum file { OTHER, DATABASE, WAL, JOURNAL };
enum kind { NONE, SYNC, WRITE, TEAR };

/* What each descriptor of this process is. */
static _Atomic unsigned char files[FILES_MAX];
static _Atomic long count;
/* Whether the write-ahead log was written to since its last sync: then a sync is a commit's. */
static _Atomic int unsynced;
static enum kind kind;
static int error;
static long first, last;

/* The next definition of a name: libc's. */
#define REAL(name) ((__typeof__(&name))real(&known_##name, #name))
#define KNOW(name) static _Atomic(void *) known_##name

KNOW(open);
KNOW(open64);
KNOW(close);
KNOW(write);
KNOW(pwrite);
KNOW(pwrite64);
KNOW(fsync);
KNOW(fdatasync);

static void *real(_Atomic(void *) *known, const char *name)
{
    void *found = atomic_load(known);
    if (!found) {
        found = dlsym(RTLD_NEXT, name);
        atomic_store(known, found);
    }
    return found;
}

__attribute__((constructor)) static void read_fault(void)
{
    const char *text = getenv("EMBERBOX_CHAOS_FAULT");
    char name[32] = "";
    long times = 0;
    if (!text || sscanf(text, "%31[a-z-]:%ld:%ld", name, &first, &times) != 3) {
        return;
    }
    last = first + times - 1;
    kind = !strncmp(name, "sync-", 5) ? SYNC : !strncmp(name, "write-", 6) ? WRITE
         : !strcmp(name, "tear") ? TEAR : NONE;
    error = strstr(name, "enospc") ? ENOSPC : EIO;
}

static int ends_with(const char *path, const char *end)
{
    size_t length = strlen(path), tail = strlen(end);
    return length >= tail && !strcmp(path + length - tail, end);
}

static int opened(int file, const char *path)
{
    if (file >= 0 && file < FILES_MAX) {
        unsigned char what = ends_with(path, "/ledger.db") ? DATABASE
                           : ends_with(path, "/ledger.db-wal") ? WAL
                           : ends_with(path, "/ledger.db-journal") ? JOURNAL : OTHER;
        atomic_store(&files[file], what);
    }
    return file;
}

static enum file what(int file)
{
    return file >= 0 && file < FILES_MAX ? (enum file)atomic_load(&files[file]) : OTHER;
}

static void say(enum file struck, int commit)
{
    static const char *const names[] = { "other", "database", "wal", "journal" };
    const char *path = getenv("EMBERBOX_CHAOS_LOG");
    char line[64];
    int length = snprintf(line, sizeof line, "%s of %s%s\n", kind == SYNC ? "sync" : "write",
                          names[struck], commit ? " in a commit" : "");
    int log = path ? REAL(open)(path, O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0600) : -1;
    if (log >= 0) {
        (void)!REAL(write)(log, line, (size_t)length);
        REAL(close)(log);
    }
}

/* Counts one operation, and says whether it is one that is to fail. */
static int strikes(enum kind of, int file)
{
    enum file on = what(file);
    int commit = 0;
    if (on == WAL && of == SYNC) {
        commit = atomic_exchange(&unsynced, 0);
    } else if (on == WAL && of == WRITE) {
        atomic_store(&unsynced, 1);
    }
    if (kind != of || on == OTHER || (kind == TEAR && on != WAL)) {
        return 0;
    }
    long now = atomic_fetch_add(&count, 1) + 1;
    if (now == first) {
        say(on, commit);
    }
    return now >= first && now <= last;
}

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;) {
        pause();
    }
}

#define OPEN(name)                                             \
    int name(const char *path, int flags, ...)                 \
    {                                                          \
        mode_t mode = 0;                                       \
        if (flags & (O_CREAT | O_TMPFILE)) {                   \
            va_list rest;                                      \
            va_start(rest, flags);                             \
            mode = va_arg(rest, mode_t);                       \
            va_end(rest);                                      \
        }                                                      \
        return opened(REAL(name)(path, flags, mode), path);    \
    }

OPEN(open)
OPEN(open64)

int close(int file)
{
    if (file >= 0 && file < FILES_MAX) {
        atomic_store(&files[file], OTHER);
    }
    return REAL(close)(file);
}

ssize_t write(int file, const void *bytes, size_t length)
{
    if (strikes(TEAR, file)) {
        (void)!REAL(write)(file, bytes, length / 2);
        die();
    }
    if (strikes(WRITE, file)) {
        errno = error;
        return -1;
    }
    return REAL(write)(file, bytes, length);
}

#define PWRITE(name, offset_type)                                                    \
    ssize_t name(int file, const void *bytes, size_t length, offset_type offset)     \
    {                                                                                \
        if (strikes(TEAR, file)) {                                                   \
            (void)!REAL(name)(file, bytes, length / 2, offset);                      \
            die();                                                                   \
        }                                                                            \
        if (strikes(WRITE, file)) {                                                  \
            errno = error;                                                           \
            return -1;                                                               \
        }                                                                            \
        return REAL(name)(file, bytes, length, offset);                              \
    }

PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define SYNC_CALL(name)             \
    int name(int file)              \
    {                               \
        if (strikes(SYNC, file)) {  \
            errno = error;          \
            return -1;              \
        }                           \
        return REAL(name)(file);    \
    }

SYNC_CALL(fsync)
SYNC_CALL(fdatasync)
