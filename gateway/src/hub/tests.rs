//! Pulls from a hub on this machine, good ones and broken ones.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;
use tempfile::TempDir;

use self::local::{Asked, LocalHub};
use super::*;
use crate::client::Secret;

pub(crate) mod local;

const TOKEN: &str = "hf_s3cret";
const WEIGHTS: [u8; 5000] = [7; 5000];
/// After 3,000 bytes the line is dead for longer than a pull is patient.
const BREAKDOWN: [&str; 5] = ["cut 3000", "cut 0", "cut 0", "cut 0", "cut 0"];

/// Somebody who remembers what was tried again.
#[derive(Default)]
struct Witness(RefCell<Vec<String>>);

impl Watch for Witness {
    fn see(&self, event: &Event<'_>) {
        if let Event::Again(error, _) = event {
            self.0.borrow_mut().push(error.to_string());
        }
    }
}

fn repository(hub: &LocalHub, reference: &str, token: Option<&str>) -> Repository {
    let reference = reference.parse().unwrap();
    Repository::new(&hub.url, token.map(Secret::new), reference).unwrap().without_pauses()
}

fn plan(hub: &LocalHub, reference: &str) -> Result<Plan, HubError> {
    Plan::make(&repository(hub, reference, None), &Witness::default())
}

fn pull_with(
    hub: &LocalHub,
    reference: &str,
    (token, root): (Option<&str>, &TempDir),
) -> Result<Pulled, HubError> {
    let (repository, witness) = (repository(hub, reference, token), Witness::default());
    let pulled =
        Plan::make(&repository, &witness)?.fetch(&repository, &root.path().join("m"), &witness);
    let seen = witness.0.borrow().join("\n");
    assert!(!seen.contains("s3cret"), "{seen}");
    pulled
}

fn pull(hub: &LocalHub, root: &TempDir) -> Result<Pulled, HubError> {
    pull_with(hub, "hf:acme/tiny", (None, root))
}

/// The files below a folder, by their path from it.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(path).unwrap());
            }
        }
    }
    found
}

/// What the storage was asked for.
fn ranges(asked: &[Asked]) -> Vec<Option<&str>> {
    asked.iter().filter(|asked| asked.of_storage).map(|asked| asked.range.as_deref()).collect()
}

fn gguf() -> LocalHub {
    LocalHub::start(&[("README.md", b"read me"), ("tiny-Q8_0.gguf", &WEIGHTS)])
}

#[test]
fn a_folder_is_pulled_with_what_it_needs() {
    let index = json!({ "weight_map": { "a": "model-00001-of-00002.safetensors",
        "b": "model-00002-of-00002.safetensors", "c": "model-00002-of-00002.safetensors" } });
    let index = index.to_string();
    let needed: [(&str, &[u8]); 6] = [
        ("1_Pooling/config.json", b"{\"pooling\":1}"),
        ("config.json", b"{}"),
        ("model-00001-of-00002.safetensors", &WEIGHTS),
        ("model-00002-of-00002.safetensors", b"second"),
        ("model.safetensors.index.json", index.as_bytes()),
        ("tokenizer.json", b"{\"model\":{}}"),
    ];
    let others: [(&str, &[u8]); 5] = [
        ("README.md", b"read me"),
        ("pytorch_model.bin", b"pickle"),
        ("tiny-Q8_0.gguf", b"gguf"),
        ("model.fp16.safetensors", b"variant"),
        ("onnx/config.json", b"{}"),
    ];
    let hub = LocalHub::start(&[&needed[..], &others[..]].concat());
    let root = tempfile::tempdir().unwrap();
    let pulled = pull_with(&hub, "hf:acme/tiny", (Some(TOKEN), &root)).unwrap();
    let expected = needed.map(|(name, bytes)| (name.to_owned(), bytes.to_vec()));
    assert_eq!(files(&pulled.path), BTreeMap::from(expected));
    let total: usize = needed.iter().map(|(_, bytes)| bytes.len()).sum();
    assert_eq!(pulled.downloaded_bytes, total as u64);

    let asked = hub.take_asked();
    assert_eq!(ranges(&asked), [None; 2]);
    for Asked { of_storage, target, authorization, .. } in &asked {
        let sent = authorization.as_deref() == Some("Bearer hf_s3cret");
        assert_eq!(sent, !of_storage, "the token is for the hub alone: {target}");
        assert_eq!(target.contains("main"), target.contains("/revision/"), "{target}");
    }
    let again = pull(&hub, &root).unwrap();
    assert_eq!((again.downloaded_bytes, again.path), (0, pulled.path.clone()));
    // What was changed since is found out and mended.
    std::fs::write(pulled.path.join("model-00002-of-00002.safetensors"), "sekond").unwrap();
    assert_eq!(pull(&hub, &root).unwrap().downloaded_bytes, 6);
    assert_eq!(files(&pulled.path)["model-00002-of-00002.safetensors"], b"second");
}

#[test]
fn what_breaks_off_goes_on_where_it_stopped() {
    let from = |byte: usize| Some(format!("bytes={byte}-"));
    for (faults, asked, good) in [
        (&[][..], vec![None], true),
        (&["cut 1000", "cut 500"], vec![None, from(1000), from(1500)], true),
        (&["cut 1000", "no range"], vec![None, from(1000)], true),
        (&["cut 9", "status 416 "], vec![None, from(9), None], true),
        (&["status 503 "], vec![None; 2], true),
        // A signed link has expired; the hub gives another.
        (&["status 403 "], vec![None; 2], true),
        (&["status 429 retry-after: 0\r\n"], vec![None; 2], true),
        (&["status 429 retry-after: 3600\r\n"], vec![None], false),
        (&["status 418 "], vec![None], false),
        (&["cut 0"; 4], vec![None; 5], true),
        (&["cut 0"; 5], vec![None; 5], false),
    ] {
        let (hub, root) = (gguf(), tempfile::tempdir().unwrap());
        hub.state().faults = faults.iter().map(|fault| (*fault).to_owned()).collect();
        let pulled = pull(&hub, &root);
        assert_eq!(pulled.is_ok(), good, "{faults:?}: {pulled:?}");
        let seen = hub.take_asked();
        let expected: Vec<Option<&str>> = asked.iter().map(Option::as_deref).collect();
        assert_eq!(ranges(&seen), expected, "{faults:?}");
        if let Ok(pulled) = pulled {
            assert_eq!(std::fs::read(pulled.path).unwrap(), WEIGHTS, "{faults:?}");
        }
    }
}

#[test]
fn a_later_pull_goes_on_too() {
    let (hub, root) = (gguf(), tempfile::tempdir().unwrap());
    hub.state().faults = BREAKDOWN.iter().map(|fault| (*fault).to_owned()).collect();
    let error = pull(&hub, &root).unwrap_err();
    assert!(matches!(error, HubError::Unavailable { .. }), "{error}");
    assert!(error.next().unwrap().contains("goes on"), "{error}");
    hub.take_asked();
    let pulled = pull(&hub, &root).unwrap();
    assert_eq!(ranges(&hub.take_asked()), [Some("bytes=3000-")]);
    assert_eq!(pulled.downloaded_bytes, 2000);
    assert_eq!(std::fs::read(pulled.path).unwrap(), WEIGHTS);
}

#[test]
fn commits_are_never_mixed() {
    let (hub, root) = (gguf(), tempfile::tempdir().unwrap());
    let first = hub.state().branches["main"].clone();
    hub.state().faults = BREAKDOWN.iter().map(|fault| (*fault).to_owned()).collect();
    pull(&hub, &root).unwrap_err();
    // The branch moves on to other bytes of the same name and size.
    let second = hub.push(&[("tiny-Q8_0.gguf", &[8; 5000])]);
    hub.take_asked();
    let pulled = pull(&hub, &root).unwrap();
    assert_eq!(ranges(&hub.take_asked()), [None], "nothing of the first commit is taken up");
    assert_eq!(std::fs::read(&pulled.path).unwrap(), [8; 5000]);
    assert!(pulled.path.to_str().unwrap().contains(&second));
    // A commit can be named itself, and what was begun of it is still there.
    hub.state().branches.insert(first.clone(), first.clone());
    let pulled = pull_with(&hub, &format!("hf:acme/tiny@{first}"), (None, &root)).unwrap();
    assert_eq!(ranges(&hub.take_asked()), [Some("bytes=3000-")]);
    assert_eq!(std::fs::read(pulled.path).unwrap(), WEIGHTS);
}

#[test]
fn what_is_not_as_listed_is_deleted() {
    for (fault, said) in [("garbage", "SHA-256 is"), ("longer", "longer than the 5000 bytes")] {
        let (hub, root) = (gguf(), tempfile::tempdir().unwrap());
        hub.state().faults.push_back(fault.to_owned());
        let error = pull(&hub, &root).unwrap_err();
        assert!(matches!(error, HubError::Broken { .. }), "{error}");
        assert!(error.to_string().contains(said), "{error}");
        let left = files(root.path());
        assert!(left.keys().all(|path| path.ends_with("LOCK")), "{left:?}");
        hub.take_asked();
        assert_eq!(std::fs::read(pull(&hub, &root).unwrap().path).unwrap(), WEIGHTS);
        assert_eq!(ranges(&hub.take_asked()), [None]);
    }
    let (root, hub) = (tempfile::tempdir().unwrap(), folder("model.safetensors"));
    hub.state().lie = Some("tokenizer.json".to_owned());
    // Two bytes are there, of the three that there should be.
    let error = pull(&hub, &root).unwrap_err();
    assert!(matches!(error, HubError::Broken { .. }), "{error}");
    assert!(error.to_string().contains("git's SHA-1"), "{error}");
}

/// A repository whose weights are this file.
fn folder(weights: &str) -> LocalHub {
    LocalHub::start(&[("config.json", b"{}"), ("tokenizer.json", b"[]"), (weights, &WEIGHTS)])
}

#[test]
fn names_that_lead_elsewhere_are_refused_before_anything_is_written() {
    let long = format!("{}.gguf", "a".repeat(300));
    for name in [
        "../evil.gguf",
        "a/../../evil.gguf",
        "/etc/evil.gguf",
        "a//evil.gguf",
        "./evil.gguf",
        "a\\evil.gguf",
        "c:evil.gguf",
        "evil\n.gguf",
        "evil\u{1b}[2J.gguf",
        "",
        &long,
    ] {
        let root = tempfile::tempdir().unwrap();
        let error = pull(&LocalHub::start(&[(name, b"evil")]), &root).unwrap_err();
        assert!(matches!(error, HubError::Refused(_)), "{name:?}: {error}");
        assert!(!error.to_string().contains(char::is_control), "{name:?}");
        assert!(files(root.path()).is_empty(), "{name:?}");
    }
    for name in ["../evil", "/etc/evil", "missing.safetensors"] {
        let index = json!({ "weight_map": { "a": name } }).to_string();
        let files: [(&str, &[u8]); 3] = [
            ("config.json", b"{}"),
            ("tokenizer.json", b"{}"),
            ("model.safetensors.index.json", index.as_bytes()),
        ];
        let root = tempfile::tempdir().unwrap();
        let error = pull(&LocalHub::start(&files), &root).unwrap_err();
        assert!(matches!(error, HubError::Refused(_)), "{name}: {error}");
        assert!(self::files(root.path()).is_empty(), "{name}");
    }
}

#[test]
fn who_may_not_read_is_told_what_to_do() {
    let (hub, root) = (gguf(), tempfile::tempdir().unwrap());
    hub.state().gate = Some(TOKEN.to_owned());
    for (reference, token, said, next) in [
        ("hf:acme/tiny", None, "acme/tiny is gated", "set HF_TOKEN"),
        ("hf:acme/tiny", Some("hf_other"), "acme/tiny is gated", "the token in HF_TOKEN"),
        ("hf:acme/tiny@nope", Some(TOKEN), "has no revision nope", "@REVISION"),
        ("hf:acme/none", None, "does not exist, or is not public", "set HF_TOKEN"),
        ("hf:acme/none", Some(TOKEN), "this token may not read it", "may read gated"),
    ] {
        // What does not exist has no API either: the hub says 401.
        let error = pull_with(&hub, reference, (token, &root)).unwrap_err();
        assert_eq!(error.exit_code(), 3, "{reference}: {error}");
        assert!(error.to_string().contains(said), "{reference}: {error}");
        assert!(error.next().unwrap().contains(next), "{reference}: {:?}", error.next());
        assert!(!format!("{error:?} {error}").contains("hf_"), "{error:?}");
    }
    pull_with(&hub, "hf:acme/tiny", (Some(TOKEN), &root)).unwrap();
    hub.state().gate = None;
}

#[test]
fn a_gguf_file_is_found_by_its_name_or_a_part_of_it() {
    let hub = LocalHub::start(&[
        ("tiny-Q4_K_S.gguf", b"1"),
        ("tiny-Q4_K_M.gguf", b"22"),
        ("tiny_q8_0.gguf", b"333"),
        ("BF16/tiny-BF16-00001-of-00002.gguf", b"4"),
        ("BF16/tiny-BF16-00002-of-00002.gguf", b"4"),
        ("mmproj-tiny-Q8_0.gguf", b"5"),
        ("pytorch_model.bin", b"6"),
    ]);
    for (choice, expected) in [
        ("tiny-Q4_K_M.gguf", Ok(2)),
        ("Q4_K_M", Ok(2)),
        ("q4_k_m", Ok(2)),
        ("Q8_0", Ok(3)),
        ("Q4_K", Err("has no GGUF file Q4_K:\n  tiny-Q4_K_M.gguf  2 B\n  tiny-Q4_K_S.gguf")),
        ("Q2_K", Err("has no GGUF file Q2_K")),
        ("tiny", Err("has several GGUF files:\n  tiny-Q4_K_M.gguf  2 B\n  tiny-Q4_K_S.gguf")),
        ("BF16", Err("in parts")),
        ("pytorch_model.bin", Err("has no GGUF file")),
    ] {
        let chosen = plan(&hub, &format!("hf:acme/tiny:{choice}"));
        match (expected, chosen) {
            (Ok(bytes), Ok(chosen)) => assert_eq!(chosen.bytes(), bytes, "{choice}"),
            (Err(said), Err(error)) => {
                assert!(error.to_string().contains(said), "{choice}: {error}");
            }
            (expected, chosen) => panic!("{choice}: {expected:?}, {chosen:?}"),
        }
    }
    let error = plan(&hub, "hf:acme/tiny").unwrap_err();
    assert!(matches!(&error, HubError::Choose { options, .. } if options.len() == 3), "{error}");
    assert_eq!(error.exit_code(), 2);
}

#[test]
fn what_cannot_be_served_is_not_downloaded() {
    for (files, said) in [
        (
            vec![("config.json", 1), ("pytorch_model.bin", 9)],
            "as a pickle only (pytorch_model.bin)",
        ),
        (vec![("README.md", 1)], "neither model.safetensors nor a GGUF file"),
        (vec![("model.safetensors", 1), ("config.json", 1)], "has no tokenizer.json"),
    ] {
        let files: Vec<(&str, Vec<u8>)> =
            files.into_iter().map(|(path, size)| (path, vec![1; size])).collect();
        let files: Vec<(&str, &[u8])> = files.iter().map(|(p, b)| (*p, b.as_slice())).collect();
        let error = plan(&LocalHub::start(&files), "hf:acme/tiny").unwrap_err();
        assert!(matches!(error, HubError::Unsuitable(_)), "{error}");
        assert!(error.to_string().contains(said), "{error}");
    }
}

#[test]
fn redirections_go_nowhere_without_encryption() {
    for elsewhere in ["http://example.org", "ftp://127.0.0.1", "file:///etc"] {
        let (hub, root) = (gguf(), tempfile::tempdir().unwrap());
        hub.state().elsewhere = Some(elsewhere.to_owned());
        let error = pull(&hub, &root).unwrap_err();
        assert!(matches!(error, HubError::Refused(_)), "{elsewhere}: {error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
        assert_eq!(
            hub.take_asked().iter().filter(|asked| asked.target.contains("resolve")).count(),
            1
        );
    }
    for (endpoint, good) in [
        ("https://huggingface.co", true),
        ("https://mirror.example/hub/", true),
        ("http://127.0.0.1:8000", true),
        ("http://[::1]:8000", true),
        ("http://huggingface.co", false),
        ("ftp://127.0.0.1", false),
        ("https://user:secret@huggingface.co", false),
        ("huggingface.co", false),
        ("", false),
    ] {
        let reference = "hf:acme/tiny".parse().unwrap();
        let made = Repository::new(endpoint, None, reference);
        assert_eq!(made.is_ok(), good, "{endpoint}");
    }
}

#[test]
fn one_pull_at_a_time_writes_to_a_repository() {
    let (hub, root) = (gguf(), tempfile::tempdir().unwrap());
    let reference = "hf:acme/tiny".parse().unwrap();
    let place = Place::open(&root.path().join("m"), &reference, "0").unwrap();
    let error = pull(&hub, &root).unwrap_err();
    assert!(matches!(error, HubError::InUse(_)), "{error}");
    drop(place);
    pull(&hub, &root).unwrap();
}
