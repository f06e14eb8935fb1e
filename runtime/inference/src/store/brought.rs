use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{Entry, Removed, State, Store};
use crate::api::ModelInfo;
use crate::formats::blob;
use crate::scheduler::lock;
use crate::{InferenceError, ModelSource};

/// How the names of brought models begin; the digest of their bytes follows.
pub(crate) const NAME_START: &str = "sha256:";

impl Store {
    /// Checks a model that somebody has brought and makes it known by the digest of its bytes; the
    /// same bytes are checked once. Gives those that left for it.
    pub(crate) fn bring(
        &self,
        bytes: Arc<[u8]>,
    ) -> Result<(ModelInfo, Vec<Removed>), InferenceError> {
        let mut digest = Sha256::new();
        digest.update(&bytes);
        let name = format!("{NAME_START}{}", blob::hex(digest));
        if let Some(info) = self.known(&name) {
            return Ok((info, Vec::new()));
        }
        let (max, new) = (self.options.brought_bytes_max, bytes.len() as u64);
        if new > max {
            let reason = format!("{new} bytes are more than the limit of {max}");
            return Err(InferenceError::bad_model(name, reason));
        }
        let (info, replaced) = self.register(&name, ModelSource::Brought(bytes), false)?;
        let mut left = self.make_room(&name)?;
        left.extend(replaced);
        Ok((info, left))
    }

    /// A brought model that is there already counts as used.
    fn known(&self, name: &str) -> Option<ModelInfo> {
        let mut state = lock(&self.state);
        state.clock += 1;
        let State { entries, clock, .. } = &mut *state;
        let entry = entries.get_mut(name)?;
        entry.used = *clock;
        Some(entry.info.clone())
    }

    /// Removes the least recently used of the brought models without a session until the others fit;
    /// or else the one that has just come.
    fn make_room(&self, newest: &str) -> Result<Vec<Removed>, InferenceError> {
        let used: Vec<u64> =
            lock(&self.sessions).values().map(|session| session.registration).collect();
        let mut state = lock(&self.state);
        let mut left = Vec::new();
        while !self.fits(&state) {
            let brought = state.entries.iter().filter(|(_, entry)| entry.is_brought());
            let idle = brought.filter(|(name, entry)| *name != newest && !used.contains(&entry.id));
            let oldest = idle.min_by_key(|(_, entry)| entry.used).map(|(name, _)| name.clone());
            let leaves = oldest.as_deref().unwrap_or(newest);
            left.extend(state.entries.remove(leaves).map(Removed::of));
            if oldest.is_none() {
                return Err(InferenceError::Overloaded("too many models were brought"));
            }
        }
        Ok(left)
    }

    fn fits(&self, state: &State) -> bool {
        let brought = state.entries.values().filter(|entry| entry.is_brought());
        let (count, bytes) =
            brought.fold((0, 0), |(count, bytes), entry| (count + 1, bytes + entry.bytes()));
        count <= self.options.brought_max && bytes <= self.options.brought_bytes_max
    }
}

impl Entry {
    /// Bytes that were brought.
    fn bytes(&self) -> u64 {
        match &self.source {
            ModelSource::Brought(bytes) => bytes.len() as u64,
            ModelSource::Path(_) | ModelSource::Static(_) => 0,
        }
    }
}
