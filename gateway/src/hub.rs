//! A client of model hubs: finds out which files a model needs, downloads them, checks them.
//!
//! It speaks the paths of huggingface.co, which mirrors speak too. A pull is tied to the commit that
//! its revision names at the beginning, each commit has a folder of its own, and a file appears in
//! it only whole and checked: what is there can be served.
//!
//! The hub is not trusted with anything but bytes: names are checked before they become paths,
//! sizes before they become memory, and the token goes to the hub itself and nowhere else.

use std::path::{Path, PathBuf};

use self::choice::Chosen;
pub use self::error::HubError;
use self::listing::RemoteFile;
use self::place::Place;
pub(crate) use self::reference::Reference;
pub(crate) use self::repository::Repository;

mod choice;
mod error;
mod listing;
mod place;
mod reference;
mod repository;
#[cfg(test)]
mod tests;
mod transfer;

/// The most that one pull downloads. Beyond that no processor serves a model anyway.
const PULL_BYTES_MAX: u64 = 512 << 30;

/// What somebody who waits for a pull gets to know.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A file is looked at: its path in the repository.
    File(&'a str),
    /// So many of its bytes were on the disk already.
    Found(u64),
    /// So many of its bytes have come.
    Came(u64),
    /// So many of its bytes were no good and come again.
    Lost(u64),
    /// Something failed and is tried again: what, and after how many milliseconds.
    Again(&'a HubError, u64),
}

/// Whom a pull tells how it goes.
pub(crate) trait Watch {
    /// Takes note of an event.
    fn see(&self, event: &Event<'_>);
}

/// What a pull will bring: known, checked, and not begun.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The commit that the revision named when it was asked.
    pub(crate) commit: String,
    chosen: Chosen,
}

/// What a pull has brought.
#[derive(Debug)]
pub(crate) struct Pulled {
    /// What a server can load: a folder, or a GGUF file.
    pub(crate) path: PathBuf,
    /// How many bytes had to be downloaded.
    pub(crate) downloaded_bytes: u64,
}

impl Plan {
    /// Asks the hub what a model consists of.
    pub(crate) fn make(repository: &Repository, watch: &dyn Watch) -> Result<Self, HubError> {
        let snapshot = listing::snapshot(repository, watch)?;
        let chosen = choice::choose(repository, &snapshot, watch)?;
        let plan = Self { commit: snapshot.commit, chosen };
        if plan.bytes() > PULL_BYTES_MAX {
            return Err(HubError::Unsuitable(format!(
                "{} has {} bytes, more than the {PULL_BYTES_MAX} of one pull",
                repository.reference(),
                plan.bytes()
            )));
        }
        Ok(plan)
    }

    /// How many files it takes.
    pub(crate) fn files(&self) -> usize {
        self.chosen.files().len()
    }

    /// How large they are together.
    pub(crate) fn bytes(&self) -> u64 {
        // Sizes come from the hub; a sum that wraps would pass the limit.
        self.chosen.files().iter().fold(0, |sum, file| sum.saturating_add(file.size_bytes))
    }

    /// Where a server will find the model, for models that are kept below `root`.
    pub(crate) fn path(&self, reference: &Reference, root: &Path) -> PathBuf {
        let folder = place::folder(root, reference, &self.commit);
        match &self.chosen {
            Chosen::Folder(_) => folder,
            Chosen::Gguf(file) => folder.join(file.path.as_str()),
        }
    }

    /// Whether all of it is there in the right size.
    pub(crate) fn is_there(&self, reference: &Reference, root: &Path) -> bool {
        let folder = place::folder(root, reference, &self.commit);
        let is_there = |file: &RemoteFile| {
            std::fs::metadata(folder.join(file.path.as_str()))
                .is_ok_and(|metadata| metadata.is_file() && metadata.len() == file.size_bytes)
        };
        self.chosen.files().iter().all(is_there)
    }

    /// Downloads what is not there yet, below `root`. What was interrupted goes on where it
    /// stopped, and what is there is checked again.
    pub(crate) fn fetch(
        &self,
        repository: &Repository,
        root: &Path,
        watch: &dyn Watch,
    ) -> Result<Pulled, HubError> {
        let place = Place::open(root, repository.reference(), &self.commit)?;
        let mut files: Vec<&RemoteFile> = self.chosen.files().iter().collect();
        // Small files first: what is wrong with a model's access shows before gigabytes came.
        files.sort_by(|a, b| (a.size_bytes, &a.path).cmp(&(b.size_bytes, &b.path)));
        let mut downloaded_bytes = 0;
        for file in files {
            watch.see(&Event::File(file.path.as_str()));
            downloaded_bytes += transfer::bring(repository, &place, file, watch)?;
        }
        Ok(Pulled { path: self.path(repository.reference(), root), downloaded_bytes })
    }
}
