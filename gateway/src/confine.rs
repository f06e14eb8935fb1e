//! What a process that strangers' bytes come into gives up before it reads any of them: files,
//! sockets, programs, other processes. It is done by the process itself, before it has threads.
//!
//! What the kernel is too old for is left out: landlock came with Linux 5.13.

use std::path::Path;

/// What a process keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Calls {
    /// What computing takes, and the streams that are open already.
    Compute,
    /// Also what threads, timers, an open socket and files to read take.
    Serve,
}

/// Takes away every file but what is below `readable`, all networks, and signals to others.
///
/// # Errors
/// What the system says.
#[cfg(target_os = "linux")]
pub(crate) fn files(readable: &[impl AsRef<Path>]) -> Result<(), String> {
    linux::files(readable).map_err(|error| format!("its files could not be taken away: {error}"))
}

/// Leaves the process these system calls. Any other fails as if it were not permitted.
///
/// # Errors
/// What the system says.
#[cfg(target_os = "linux")]
pub(crate) fn calls(kept: Calls) -> Result<(), String> {
    linux::calls(kept).map_err(|error| format!("system calls could not be filtered: {error}"))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn files(_readable: &[impl AsRef<Path>]) -> Result<(), String> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn calls(_kept: Calls) -> Result<(), String> {
    Ok(())
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::BTreeMap;
    use std::path::Path;

    use landlock::{
        ABI, Access, AccessFs, AccessNet, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
        path_beneath_rules,
    };
    use rustix::io::Errno;
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule,
    };

    use super::Calls;

    pub(super) fn files(readable: &[impl AsRef<Path>]) -> Result<(), landlock::RulesetError> {
        let newest = ABI::V6;
        let reading = AccessFs::ReadFile | AccessFs::ReadDir;
        Ruleset::default()
            .handle_access(AccessFs::from_all(newest))?
            .handle_access(AccessNet::from_all(newest))?
            .scope(Scope::from_all(newest))?
            .create()?
            .add_rules(path_beneath_rules(readable, reading))?
            .restrict_self()?;
        Ok(())
    }

    /// What memory, threads' locks, the clock, the streams it has and its own end take.
    const COMPUTE: [i64; 26] = [
        libc::SYS_brk,
        libc::SYS_clock_gettime,
        libc::SYS_close,
        libc::SYS_exit,
        libc::SYS_exit_group,
        libc::SYS_fstat,
        libc::SYS_futex,
        libc::SYS_getpid,
        libc::SYS_getrandom,
        libc::SYS_gettid,
        libc::SYS_madvise,
        libc::SYS_mmap,
        libc::SYS_mprotect,
        libc::SYS_mremap,
        libc::SYS_munmap,
        libc::SYS_read,
        libc::SYS_restart_syscall,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sched_getaffinity,
        libc::SYS_sched_yield,
        libc::SYS_sigaltstack,
        libc::SYS_statx,
        libc::SYS_write,
        libc::SYS_writev,
    ];

    /// Threads, their priority and their timers; the socket that is open already, waited for; files
    /// as far as they can be opened still, and such as are in memory alone.
    const SERVE: [i64; 41] = [
        libc::SYS_clock_nanosleep,
        libc::SYS_clone3,
        libc::SYS_epoll_create1,
        libc::SYS_epoll_ctl,
        libc::SYS_epoll_pwait,
        libc::SYS_eventfd2,
        libc::SYS_fcntl,
        libc::SYS_ftruncate,
        libc::SYS_getcwd,
        libc::SYS_getdents64,
        libc::SYS_getpriority,
        libc::SYS_getrusage,
        libc::SYS_getsockopt,
        libc::SYS_lseek,
        libc::SYS_membarrier,
        libc::SYS_memfd_create,
        libc::SYS_mincore,
        libc::SYS_mlock,
        libc::SYS_munlock,
        libc::SYS_nanosleep,
        libc::SYS_newfstatat,
        libc::SYS_openat,
        libc::SYS_ppoll,
        libc::SYS_prctl,
        libc::SYS_pread64,
        libc::SYS_prlimit64,
        libc::SYS_readlinkat,
        libc::SYS_readv,
        libc::SYS_recvfrom,
        libc::SYS_recvmsg,
        libc::SYS_rseq,
        libc::SYS_sched_getparam,
        libc::SYS_sched_getscheduler,
        libc::SYS_sendmsg,
        libc::SYS_sendto,
        libc::SYS_set_robust_list,
        libc::SYS_setpriority,
        libc::SYS_shutdown,
        libc::SYS_socketpair,
        libc::SYS_sysinfo,
        libc::SYS_uname,
    ];

    /// Those that other processors do not have.
    #[cfg(target_arch = "x86_64")]
    const SERVE_HERE: [i64; 5] = [
        libc::SYS_arch_prctl,
        libc::SYS_clone,
        libc::SYS_epoll_wait,
        libc::SYS_poll,
        libc::SYS_readlink,
    ];
    #[cfg(not(target_arch = "x86_64"))]
    const SERVE_HERE: [i64; 1] = [libc::SYS_clone];

    pub(super) fn calls(kept: Calls) -> Result<(), seccompiler::Error> {
        let serve = match kept {
            Calls::Compute => [].iter().chain(&[]),
            Calls::Serve => SERVE.iter().chain(&SERVE_HERE),
        };
        let all = COMPUTE.iter().chain(serve);
        let mut rules: BTreeMap<_, _> = all.map(|call| (*call, Vec::new())).collect();
        // A process ends itself with a signal; it sends none to others.
        let own = u64::from(std::process::id());
        rules.insert(libc::SYS_tgkill, vec![only(0, own)?]);
        if kept == Calls::Serve {
            // How a socket is told not to block.
            rules.insert(libc::SYS_ioctl, vec![only(1, libc::FIONBIO)?]);
        }
        let filter = SeccompFilter::new(
            rules,
            SeccompAction::Errno(Errno::PERM.raw_os_error().unsigned_abs()),
            SeccompAction::Allow,
            std::env::consts::ARCH.try_into()?,
        )?;
        let program: BpfProgram = filter.try_into()?;
        seccompiler::apply_filter(&program)
    }

    /// Where an argument is this.
    fn only(argument: u8, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
        let size = SeccompCmpArgLen::Dword;
        SeccompRule::new(vec![SeccompCondition::new(argument, size, SeccompCmpOp::Eq, value)?])
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
