use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::account::Account;

/// Where Debian and its relatives keep one folder for each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// What the folder must hold to be of use.
const NEEDED: [&str; 3] = ["initdb", "postgres", "psql"];

/// The folder with PostgreSQL's programs.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Looks along `PATH`, then for the newest version in the folder of the distribution.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        find(&path, Path::new(VERSIONS)).map(|folder| Programs { folder }).context(
            "PostgreSQL is not installed: `apt-get install postgresql`, \
             or put the folder with initdb, postgres and psql on PATH",
        )
    }

    /// A command that runs one of the programs in `folder`, without the settings for PostgreSQL's
    /// clients that a developer's environment may hold.
    pub(crate) fn command(&self, name: &str, folder: &Path, account: Option<Account>) -> Command {
        let mut command = Command::new(self.folder.join(name));
        for (name, _) in std::env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(name);
            }
        }
        command.current_dir(folder);
        if let Some(account) = account {
            account.applied(&mut command);
        }
        command
    }
}

fn find(path: &OsStr, versions: &Path) -> Option<PathBuf> {
    let along_path = std::env::split_paths(path)
        .map(|folder| folder.join("postgres"))
        // A link leads to the folder where all the programs are.
        .filter_map(|program| Some(program.canonicalize().ok()?.parent()?.to_owned()));
    along_path.chain(installed(versions)).find(|folder| complete(folder))
}

/// The folders of the installed versions, newest first.
fn installed(versions: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(versions).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    found.sort();
    found.into_iter().rev().map(|(_, folder)| folder).collect()
}

fn complete(folder: &Path) -> bool {
    NEEDED.iter().all(|program| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install(folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        for program in NEEDED {
            std::fs::write(folder.join(program), "").unwrap();
        }
    }

    #[test]
    fn programs_are_found_on_path_then_newest_first() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let versions = root.join("versions");
        assert_eq!(find(OsStr::new(""), &versions), None);
        for version in ["9", "15", "16"] {
            install(&versions.join(version).join("bin"));
        }
        assert_eq!(find(OsStr::new(""), &versions), Some(versions.join("16/bin")));
        std::fs::remove_file(versions.join("16/bin/initdb")).unwrap();
        assert_eq!(find(OsStr::new(""), &versions), Some(versions.join("15/bin")));

        let own = root.join("own");
        install(&own);
        assert_eq!(find(own.as_os_str(), &versions), Some(own.clone()));
        let links = root.join("links");
        std::fs::create_dir(&links).unwrap();
        std::os::unix::fs::symlink(own.join("postgres"), links.join("postgres")).unwrap();
        assert_eq!(find(links.as_os_str(), &versions), Some(own));
    }
}
