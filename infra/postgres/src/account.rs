use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

/// Accounts to become instead of root, the better one first.
const UNPRIVILEGED: [&str; 2] = ["postgres", "nobody"];

/// A user and a group of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    /// The account that the server must run under where this process is root's, and `None` where
    /// it is anybody else's. A file that the process has just made tells whose it is.
    pub(crate) fn instead_of_root(own_file: &Path) -> anyhow::Result<Option<Self>> {
        if std::fs::metadata(own_file)?.uid() != 0 {
            return Ok(None);
        }
        let accounts = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        let found = UNPRIVILEGED.iter().find_map(|name| find(&accounts, name));
        found.map(Some).context(
            "PostgreSQL refuses to run as root, and this machine has no account \
             named postgres or nobody to run it under",
        )
    }

    /// Makes the command run under this account.
    pub(crate) fn applied(self, command: &mut Command) {
        command.uid(self.uid).gid(self.gid);
    }

    /// Gives a file or a folder to this account.
    pub(crate) fn own(self, path: &Path) -> anyhow::Result<()> {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
            .with_context(|| format!("cannot give {} to another account", path.display()))
    }
}

/// Finds an account in the text of `/etc/passwd`; root under another name is none.
fn find(accounts: &str, name: &str) -> Option<Account> {
    accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let own = fields.next()? == name;
        let mut numbers = fields.skip(1).map(str::parse::<u32>);
        let (uid, gid) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
        (own && uid != 0).then_some(Account { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read_from_the_list_of_accounts() {
        let accounts = "root:x:0:0::/root:/bin/sh\n\nbroken:x\npostgres2:x:7:8::/:/bin/sh\n\
                        postgres:x:101:104:PostgreSQL:/var/lib:/bin/sh\ntoor:x:0:0::/:/bin/sh\n";
        assert_eq!(find(accounts, "postgres"), Some(Account { uid: 101, gid: 104 }));
        for name in ["nobody", "broken", "toor", ""] {
            assert_eq!(find(accounts, name), None, "{name}");
        }
    }
}
