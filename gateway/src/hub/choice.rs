//! Which files of a repository a model needs: one GGUF file, or a folder of safetensors.

use std::collections::{BTreeMap, BTreeSet};

use emberbox_inference::{FOLDER_FILES, FOLDER_INDEX, FOLDER_WEIGHTS};
use serde::Deserialize;

use super::Watch;
use super::error::HubError;
use super::listing::{RemoteFile, Snapshot};
use super::repository::{JSON_BYTES_MAX, Repository, read_whole};
use crate::cli::format::size;

/// Files that every folder must have.
const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];
/// The most files of weights.
const SHARDS_MAX: usize = 1_024;
/// Endings of pickles: programs that run when they are loaded.
const PICKLES: [&str; 5] = [".bin", ".pt", ".pth", ".pkl", ".ckpt"];

/// What to download.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    /// A folder as `save_pretrained` writes it.
    Folder(Vec<RemoteFile>),
    /// One file.
    Gguf(RemoteFile),
}

impl Chosen {
    /// All files.
    pub(super) fn files(&self) -> &[RemoteFile] {
        match self {
            Self::Folder(files) => files,
            Self::Gguf(file) => std::slice::from_ref(file),
        }
    }
}

/// Chooses from what is there. A named GGUF file wins, then safetensors, then the only GGUF file.
pub(super) fn choose(
    repository: &Repository,
    snapshot: &Snapshot,
    watch: &dyn Watch,
) -> Result<Chosen, HubError> {
    let reference = repository.reference();
    if let Some(wanted) = &reference.choice {
        return gguf(&reference.to_string(), &snapshot.files, Some(wanted)).map(Chosen::Gguf);
    }
    let has = |path| snapshot.file(path).is_some();
    if has(FOLDER_INDEX) || has(FOLDER_WEIGHTS) {
        return folder(repository, snapshot, watch).map(Chosen::Folder);
    }
    gguf(&reference.to_string(), &snapshot.files, None).map(Chosen::Gguf)
}

fn folder(
    repository: &Repository,
    snapshot: &Snapshot,
    watch: &dyn Watch,
) -> Result<Vec<RemoteFile>, HubError> {
    let reference = repository.reference();
    if let Some(missing) = REQUIRED.iter().find(|name| snapshot.file(name).is_none()) {
        return Err(HubError::Unsuitable(format!("{reference} has no {missing}")));
    }
    let index = snapshot.file(FOLDER_INDEX);
    let weights = match index {
        Some(index) => shards(repository, (&snapshot.commit, index), watch)?,
        None => BTreeSet::from([FOLDER_WEIGHTS.to_owned()]),
    };
    let mut files: Vec<RemoteFile> = index.cloned().into_iter().collect();
    files.extend(FOLDER_FILES.iter().filter_map(|name| snapshot.file(name)).cloned());
    for name in weights {
        // A name that the listing does not have is none that was checked.
        let file = snapshot.file(&name).ok_or_else(|| {
            HubError::Refused(format!("{FOLDER_INDEX} names {name:?}, which is not there"))
        })?;
        files.push(file.clone());
    }
    Ok(files)
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// The files that the index names.
fn shards(
    repository: &Repository,
    (commit, index): (&str, &RemoteFile),
    watch: &dyn Watch,
) -> Result<BTreeSet<String>, HubError> {
    if index.size_bytes > JSON_BYTES_MAX {
        return Err(HubError::Refused(format!("{FOLDER_INDEX} is over {JSON_BYTES_MAX} bytes")));
    }
    let url = repository.file(commit, index.path.as_str())?;
    let bytes =
        repository.patiently(watch, || read_whole(repository.get(&url, 0)?, JSON_BYTES_MAX))?;
    let mut hasher = index.checksum.begin(index.size_bytes);
    hasher.update(&bytes);
    if hasher.finish() != index.checksum.hex() {
        let what = format!("{} is not that of the listing", index.checksum.algorithm());
        return Err(HubError::Broken { file: FOLDER_INDEX.to_owned(), what });
    }
    let index: Index = serde_json::from_slice(&bytes)
        .map_err(|error| HubError::Refused(format!("{FOLDER_INDEX}: {error}")))?;
    let files: BTreeSet<String> = index.weight_map.into_values().collect();
    if files.is_empty() || files.len() > SHARDS_MAX {
        let count = files.len();
        return Err(HubError::Refused(format!("{FOLDER_INDEX} names {count} files")));
    }
    Ok(files)
}

/// The GGUF file that is meant: the one with this path, else those with this part in their path.
fn gguf(
    repository: &str,
    files: &[RemoteFile],
    wanted: Option<&str>,
) -> Result<RemoteFile, HubError> {
    let all: Vec<&RemoteFile> = files.iter().filter(|file| is_gguf(file)).collect();
    if all.is_empty() {
        return Err(HubError::Unsuitable(nothing(repository, files)));
    }
    let (whole, parts): (Vec<&RemoteFile>, Vec<&RemoteFile>) =
        all.iter().partition(|file| !is_split(file.path.as_str()));
    let named = |file: &&&RemoteFile| wanted == Some(file.path.as_str());
    if let Some(file) = whole.iter().find(named) {
        return Ok((*file).clone());
    }
    let fits = |file: &&RemoteFile| match wanted {
        Some(part) => has_part(file.path.as_str(), part),
        None => true,
    };
    let fitting: Vec<&RemoteFile> = whole.iter().copied().filter(fits).collect();
    let (what, shown) = match (fitting.as_slice(), wanted) {
        ([file], _) => return Ok((*file).clone()),
        ([], _) if parts.iter().copied().any(|file| fits(&file)) => {
            let what = format!("{repository} has it in parts, which cannot be read; merge them");
            return Err(HubError::Unsuitable(format!("{what} with `llama-gguf-split --merge`")));
        }
        ([], part) => (format!("{repository} has no GGUF file {}", part.unwrap_or("")), &whole),
        (_, _) => (format!("{repository} has several GGUF files"), &fitting),
    };
    let options =
        shown.iter().map(|file| format!("{}  {}", file.path.as_str(), size(file.size_bytes)));
    Err(HubError::Choose { what, options: options.collect() })
}

/// Whether a file is a model. Projectors of images and matrices of importance end so too.
fn is_gguf(file: &RemoteFile) -> bool {
    let path = file.path.as_str().to_ascii_lowercase();
    let name = path.rsplit('/').next().unwrap_or_default();
    name.ends_with(".gguf") && !name.contains("mmproj") && !name.contains("imatrix")
}

/// Whether a file is one of several that make up a model: `…-00001-of-00003.gguf`.
fn is_split(path: &str) -> bool {
    let stem = path.get(..path.len().saturating_sub(".gguf".len())).unwrap_or_default();
    let mut parts = stem.rsplit('-');
    let is_number = |part: Option<&str>| {
        part.is_some_and(|text| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit()))
    };
    is_number(parts.next()) && parts.next() == Some("of") && is_number(parts.next())
}

/// Whether a path has a part such as a quantisation in it, whole: `Q4_K` is not in `x-Q4_K_M`.
fn has_part(path: &str, part: &str) -> bool {
    let (path, part) = (path.to_ascii_lowercase(), part.to_ascii_lowercase());
    path.match_indices(&part).any(|(at, _)| {
        let before = path.get(..at).and_then(|text| text.chars().next_back());
        let after = path.get(at + part.len()..).and_then(|text| text.chars().next());
        before.is_none_or(|c| !c.is_alphanumeric())
            && after.is_none_or(|c| !(c.is_alphanumeric() || c == '_'))
    })
}

/// Why there is nothing to serve.
fn nothing(repository: &str, files: &[RemoteFile]) -> String {
    let is_pickle =
        |file: &RemoteFile| PICKLES.iter().any(|ending| file.path.as_str().ends_with(ending));
    match files.iter().find(|file| is_pickle(file)) {
        Some(pickle) => format!(
            "{repository} has its weights as a pickle only ({}): loading one runs whatever program \
             is in it, so none is ever loaded; look for the same model as safetensors or GGUF",
            pickle.path.as_str()
        ),
        None => format!("{repository} has neither {FOLDER_WEIGHTS} nor a GGUF file"),
    }
}
