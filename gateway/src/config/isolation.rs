use std::path::{Path, PathBuf};

use super::reader::Reader;

/// Parts of the server in processes of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Isolation {
    /// Whether functions and models run in processes of their own. It costs a guest's call of a model
    /// about 0.2 ms, and keeps a fault of the sandbox or of a model's parser from everything else.
    pub enabled: bool,
    /// Processes that run functions. All functions of an organisation are in the same one.
    pub workers: usize,
    /// Folders, separated by commas, that models may be in, besides `models` in the data folder.
    pub model_folders: String,
}

impl Default for Isolation {
    fn default() -> Self {
        Self { enabled: false, workers: 2, model_folders: String::new() }
    }
}

impl Isolation {
    /// Each of the folders.
    pub(crate) fn folders(&self) -> impl Iterator<Item = PathBuf> {
        let all = self.model_folders.split(',').map(str::trim);
        all.filter(|folder| !folder.is_empty()).map(PathBuf::from)
    }

    pub(super) fn read(&mut self, reader: &mut Reader) {
        reader.read("isolation.enabled", &mut self.enabled);
        reader.read("isolation.workers", &mut self.workers);
        reader.read("isolation.model_folders", &mut self.model_folders);
    }

    pub(super) fn check(&self, reader: &mut Reader) {
        let right = (1..=64).contains(&self.workers);
        reader.expect(right, "isolation.workers", "must be 1 to 64");
        let absolute = self.folders().all(|folder| Path::is_absolute(&folder));
        reader.expect(absolute, "isolation.model_folders", "must be absolute paths");
    }
}
