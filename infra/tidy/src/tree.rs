//! Reads the checkout: its files, its manifests.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Folders that no rule looks into: build outputs and what git keeps for itself.
const SKIPPED: [&str; 4] = ["target", ".git", "node_modules", ".venv"];

/// A checkout with all its files listed.
#[derive(Debug)]
pub struct Tree {
    root: PathBuf,
    files: Vec<PathBuf>,
}

impl Tree {
    /// Lists every file under `root`, sorted, build outputs left out.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        list(root, &mut files)?;
        files.sort();
        Ok(Self { root: root.to_path_buf(), files })
    }

    /// The folder that all paths are relative to.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Paths of all files, relative to the root, with `/` between their parts.
    pub fn files(&self) -> impl Iterator<Item = String> + '_ {
        self.files.iter().map(|file| {
            let inside = file.strip_prefix(&self.root).unwrap_or(file);
            inside.to_string_lossy().replace('\\', "/")
        })
    }

    /// Files whose name ends in `suffix`.
    pub fn ending(&self, suffix: &'static str) -> impl Iterator<Item = String> + '_ {
        self.files().filter(move |file| file.ends_with(suffix))
    }

    /// The bytes of one file; empty where it is gone or unreadable, which the rules then report as
    /// what is missing in it.
    #[must_use]
    pub fn bytes(&self, file: &str) -> Vec<u8> {
        fs::read(self.root.join(file)).unwrap_or_default()
    }

    /// The text of one file, bytes that are not UTF-8 replaced.
    #[must_use]
    pub fn text(&self, file: &str) -> String {
        String::from_utf8_lossy(&self.bytes(file)).into_owned()
    }

    /// Every `Cargo.toml` that parses as a table, with its path.
    #[must_use]
    pub fn manifests(&self) -> Vec<(String, toml::Table)> {
        self.files()
            .filter(|file| file == "Cargo.toml" || file.ends_with("/Cargo.toml"))
            .filter_map(|file| self.text(&file).parse().ok().map(|table| (file, table)))
            .collect()
    }
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_file() {
            files.push(entry.path());
        } else if kind.is_dir() && !skipped(&entry.file_name()) {
            list(&entry.path(), files)?;
        }
    }
    Ok(())
}

fn skipped(name: &std::ffi::OsStr) -> bool {
    SKIPPED.iter().any(|skipped| name == *skipped)
}
