use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::blob::{self, Blob};
use super::safetensors;
use super::weights::Weights;
use crate::InferenceError;

const JSON_BYTES_MAX: u64 = 64 << 20;
const SHARDS_MAX: usize = 1_024;

/// Files of a folder that decide what a model does, in order of name. The weights come on top.
pub const FILES: [&str; 9] = [
    "1_Pooling/config.json",
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "modules.json",
    "sentence_bert_config.json",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
];

/// The weights, where they are one file.
pub const WEIGHTS: &str = "model.safetensors";
/// Which file has which tensor, where the weights are several: `{"weight_map": {tensor: file}}`.
pub const INDEX: &str = "model.safetensors.index.json";

/// A folder as `save_pretrained` writes it.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Folder {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    /// An error about one of its files.
    pub(crate) fn bad(&self, file: &str, reason: impl std::fmt::Display) -> InferenceError {
        InferenceError::bad_model(self.path.join(file).display().to_string(), reason.to_string())
    }

    /// A small file's bytes; `None` when it does not exist.
    pub(crate) fn bytes(&self, file: &str) -> Result<Option<Vec<u8>>, InferenceError> {
        blob::read_small(&self.path.join(file), JSON_BYTES_MAX)
    }

    /// A small file as text; `None` when it does not exist.
    pub(crate) fn text(&self, file: &str) -> Result<Option<String>, InferenceError> {
        let Some(bytes) = self.bytes(file)? else { return Ok(None) };
        String::from_utf8(bytes).map(Some).map_err(|error| self.bad(file, error))
    }

    /// A JSON file; `None` when it does not exist.
    pub(crate) fn json<T: DeserializeOwned>(
        &self,
        file: &str,
    ) -> Result<Option<T>, InferenceError> {
        let Some(bytes) = self.bytes(file)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| self.bad(file, error))
    }

    /// A JSON file that must exist.
    pub(crate) fn required<T: DeserializeOwned>(&self, file: &str) -> Result<T, InferenceError> {
        self.json(file)?.ok_or_else(|| self.bad(file, "the file is missing"))
    }

    /// All tensors, and the digest of everything that was or will be read.
    pub(crate) fn weights(&self, bytes_max: u64) -> Result<(Weights, String), InferenceError> {
        let mut blobs = Vec::new();
        let mut entries = BTreeMap::new();
        let mut bytes = 0;
        for (index, file) in self.shards()?.into_iter().enumerate() {
            let blob = match Blob::open(&self.path.join(&file), bytes_max) {
                Err(InferenceError::Io { source, .. })
                    if source.kind() == std::io::ErrorKind::NotFound =>
                {
                    return Err(self.bad(&file, "the file is missing"));
                }
                other => other?,
            };
            bytes += blob.len();
            if bytes > bytes_max {
                return Err(self.bad(&file, format!("the weights are over {bytes_max} bytes")));
            }
            let parsed = safetensors::parse(&blob, index)?;
            if let Some((name, _)) = parsed.iter().find(|(name, _)| entries.contains_key(name)) {
                return Err(blob.bad(format!("tensor `{name}` appears twice")));
            }
            entries.extend(parsed);
            blobs.push(blob);
        }
        let digest = self.digest(&blobs)?;
        Ok((Weights { blobs, entries }, digest))
    }

    fn shards(&self) -> Result<BTreeSet<String>, InferenceError> {
        let Some(index) = self.json::<Index>(INDEX)? else {
            return Ok(BTreeSet::from([WEIGHTS.to_owned()]));
        };
        let files: BTreeSet<String> = index.weight_map.into_values().collect();
        if files.is_empty() || files.len() > SHARDS_MAX {
            return Err(self.bad(INDEX, format!("names {} files", files.len())));
        }
        // A name with a folder in it could lead anywhere.
        match files.iter().find(|f| f.contains(['/', '\\']) || f.starts_with('.')) {
            Some(file) => Err(self.bad(INDEX, format!("`{file}` is not the name of a file"))),
            None => Ok(files),
        }
    }

    fn digest(&self, blobs: &[Blob]) -> Result<String, InferenceError> {
        let mut digest = Sha256::new();
        for file in FILES {
            if let Some(bytes) = self.bytes(file)? {
                digest.update(file.as_bytes());
                digest.update((bytes.len() as u64).to_le_bytes());
                digest.update(bytes);
            }
        }
        for blob in blobs {
            digest.update(blob.len().to_le_bytes());
            blob.digest_into(&mut digest)?;
        }
        Ok(blob::hex(digest))
    }
}
