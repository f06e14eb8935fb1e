//! A folder's files as they are now, to be compared with what they were.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Files of a folder that are looked at.
const FILES_MAX: usize = 10_000;
/// Folders in folders.
const DEPTH_MAX: u32 = 32;
/// What builds write.
const LEFT_OUT: [&str; 4] = ["target", "Cargo.lock", "node_modules", "__pycache__"];

/// When each file was changed, and its length.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Snapshot(BTreeMap<PathBuf, (Option<SystemTime>, u64)>);

impl Snapshot {
    /// All files but hidden ones and what builds write. What cannot be read is not there.
    pub(super) fn of(folder: &Path) -> Self {
        let mut snapshot = Self(BTreeMap::new());
        snapshot.add(folder, DEPTH_MAX);
        snapshot
    }

    fn add(&mut self, folder: &Path, depth: u32) {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| is_source(&entry.file_name())) {
            // Links are not followed, so that no folder comes twice.
            match entry.metadata() {
                Ok(found) if found.is_dir() && depth > 0 => self.add(&entry.path(), depth - 1),
                Ok(found) if self.0.len() < FILES_MAX => {
                    self.0.insert(entry.path(), (found.modified().ok(), found.len()));
                }
                _ => {}
            }
        }
    }
}

fn is_source(name: &OsStr) -> bool {
    let text = name.to_string_lossy();
    !LEFT_OUT.iter().any(|left_out| name == *left_out)
        && !text.starts_with('.')
        && !text.ends_with(".wasm")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn saved_files_are_seen_and_builds_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for part in ["src", "target", ".git"] {
            fs::create_dir(root.join(part)).unwrap();
        }
        fs::write(root.join("src/lib.rs"), "a").unwrap();
        let before = Snapshot::of(root);
        assert_eq!(before, Snapshot::of(root));
        for unseen in ["target/x", "Cargo.lock", ".git/x", "src/.lib.rs.swp", "app.wasm"] {
            fs::write(root.join(unseen), "x").unwrap();
        }
        assert_eq!(before, Snapshot::of(root));
        fs::write(root.join("src/lib.rs"), "ab").unwrap();
        let changed = Snapshot::of(root);
        assert_ne!(before, changed);
        fs::write(root.join("src/new.rs"), "").unwrap();
        assert_ne!(changed, Snapshot::of(root));
        fs::remove_file(root.join("src/new.rs")).unwrap();
        assert_eq!(changed, Snapshot::of(root));
    }
}
