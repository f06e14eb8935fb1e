//! Files that this process may have open: connections, stores, and one for each function that is
//! ready, whose compiled code is mapped.

/// Kept for the stores, the model files and what starts up.
const FILES_KEPT: u64 = 256;

/// As many functions as half of the files allow, and no more than the operator wants: connections
/// need the other half. The process first takes all the files that the system lets it have.
#[cfg(unix)]
pub(super) fn ready_functions_max(wanted: usize) -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let own = limit.current;
    limit.current = limit.maximum;
    if setrlimit(Resource::Nofile, limit).is_err() {
        limit.current = own;
    }
    let Some(files) = limit.current else { return wanted };
    let ready = within(files, wanted);
    // A few less than all is nothing to worry about.
    if ready < wanted / 2 {
        tracing::warn!(
            files,
            "limits.deployments_max is {wanted}, and {ready} functions are kept ready: each needs \
             an open file, of which the system allows this process too few (ulimit -n)"
        );
    }
    ready
}

#[cfg(not(unix))]
pub(super) fn ready_functions_max(wanted: usize) -> usize {
    wanted
}

#[cfg(unix)]
fn within(files: u64, wanted: usize) -> usize {
    let half = files.saturating_sub(FILES_KEPT) / 2;
    wanted.min(usize::try_from(half).unwrap_or(usize::MAX)).max(1)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn functions_leave_files_for_connections() {
        assert_eq!(within(20_256, 10_000), 10_000);
        assert_eq!(within(1_024, 10_000), 384);
        assert_eq!(within(100, 10_000), 1);
        assert!(ready_functions_max(10_000) > 1);
    }
}
