//! A simulated disk. Where the machine's own disk acknowledges a sync from a cache, `--sync-us`
//! makes every sync take at least so long, by a library (`slow-sync.c`) that is built here and
//! loaded before all others into this program and into the PostgreSQL servers it starts. Rows
//! that were measured so carry `sync_delayed_to_us`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use clap::Args;
use tokio::process::Command;

/// The source of the library, as it was when this program was built.
const SOURCE: &str = include_str!("../slow-sync.c");
/// How the library learns the delay, and this program that it runs with it.
const DELAY_VARIABLE: &str = "EMBERBOX_SLOW_SYNC_US";
/// How the dynamic linker learns of the library.
const PRELOAD_VARIABLE: &str = "LD_PRELOAD";
/// A sync faster than this never reached a disk: a row measured on it gets no verdict.
const REAL_SYNC_US_MIN: u64 = 500;

/// Which disk to measure on.
#[derive(Debug, Clone, Args)]
pub(crate) struct SlowDisk {
    /// Simulate a disk whose syncs take at least this many microseconds
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=60_000_000))]
    sync_us: Option<u64>,
    /// Set where the simulation is in force
    #[arg(long, hide = true, env = DELAY_VARIABLE)]
    delayed_to_us: Option<u64>,
    /// Set where the simulation is in force
    #[arg(long, hide = true, env = PRELOAD_VARIABLE)]
    preload: Option<String>,
}

impl SlowDisk {
    /// Where a simulated disk is asked for and not yet in force, runs this program again on one,
    /// and says so: there is nothing left to do then.
    pub(crate) async fn rerun(&self) -> anyhow::Result<bool> {
        let (Some(sync_us), None) = (self.sync_us, self.delayed_to_us) else {
            return Ok(false);
        };
        let folder = tempfile::Builder::new().prefix("emberbox-slow-sync-").tempdir()?;
        let library = build(folder.path()).await?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(std::env::args_os().skip(1)).kill_on_drop(true);
        command.env(DELAY_VARIABLE, sync_us.to_string()).env(PRELOAD_VARIABLE, library);
        let status = command.status().await?;
        ensure!(status.success(), "the run on the simulated disk ended with {status}");
        Ok(true)
    }

    /// The least that a sync takes here, where the disk is simulated.
    pub(crate) fn sync_delayed_to_us(&self) -> Option<u64> {
        self.delayed_to_us
    }

    /// What a server that is to run on the same disk must find in its environment.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let (Some(delay_us), Some(library)) = (self.delayed_to_us, &self.preload) else {
            return Vec::new();
        };
        vec![
            (DELAY_VARIABLE.to_owned(), delay_us.to_string()),
            (PRELOAD_VARIABLE.to_owned(), library.clone()),
        ]
    }

    /// Makes sure that the simulation, where there is one, is in force.
    pub(crate) fn verify(&self, fsync_p50_us: u64) -> anyhow::Result<()> {
        let delayed_to_us = self.delayed_to_us.unwrap_or(0);
        ensure!(
            fsync_p50_us >= delayed_to_us,
            "syncs take {fsync_p50_us} us where {delayed_to_us} us were asked for: the library was \
             not loaded"
        );
        Ok(())
    }
}

/// Why a figure on this disk is no answer to how fast the ledger is, if it is none.
pub(crate) fn refusal(fsync_p50_us: u64) -> Option<String> {
    (fsync_p50_us < REAL_SYNC_US_MIN)
        .then(|| format!("not a real disk: fsync_p50_us={fsync_p50_us}"))
}

/// Builds the library into a folder that any user may read, because PostgreSQL runs as its own.
async fn build(folder: &Path) -> anyhow::Result<PathBuf> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
    }
    let source = folder.join("slow-sync.c");
    std::fs::write(&source, SOURCE)?;
    let library = folder.join("slow-sync.so");
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-O2", "-o"]).arg(&library).arg(&source);
    let status = command.stdin(Stdio::null()).status().await.context("no C compiler (cc)")?;
    ensure!(status.success(), "cc ended with {status} on slow-sync.c");
    Ok(library)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_sync_from_a_cache_is_no_disk() {
        for (fsync_p50_us, expect) in [
            (191, Some("not a real disk: fsync_p50_us=191")),
            (499, Some("not a real disk: fsync_p50_us=499")),
            (500, None),
            (4_000, None),
        ] {
            assert_eq!(refusal(fsync_p50_us).as_deref(), expect);
        }
    }

    #[test]
    fn a_simulation_that_is_not_in_force_is_noticed() {
        let disk = |delayed_to_us| SlowDisk { sync_us: None, delayed_to_us, preload: None };
        assert!(disk(Some(4_000)).verify(191).is_err());
        assert!(disk(Some(4_000)).verify(4_012).is_ok());
        assert!(disk(None).verify(191).is_ok());
    }

    #[tokio::test]
    async fn the_library_delays_every_kind_of_sync() {
        let folder = tempfile::tempdir().unwrap();
        let library = build(folder.path()).await.unwrap();
        for kind in ["fsync", "fdatasync"] {
            let began = Instant::now();
            let status = Command::new("dd")
                .args(["if=/dev/zero", "bs=1", "count=1", "status=none"])
                .arg(format!("conv={kind}"))
                .arg(format!("of={}", folder.path().join(kind).display()))
                .env(DELAY_VARIABLE, "150000")
                .env(PRELOAD_VARIABLE, &library)
                .status()
                .await
                .unwrap();
            assert!(status.success(), "dd: {status}");
            // The delay is a lower bound, so however busy the machine is, this holds.
            assert!(began.elapsed() >= Duration::from_millis(150), "{kind} was not delayed");
        }
    }
}
