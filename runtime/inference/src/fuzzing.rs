//! One function for each fuzz target: hostile bytes in, no panic and no memory beyond a bound out.

use std::cell::LazyCell;
use std::path::Path;
use std::sync::Once;

use emberbox_sampling::{Grammar, Vocabulary};
use tempfile::TempDir;

use crate::InferenceError;
use crate::formats::blob::Blob;
use crate::formats::gguf as gguf_file;
use crate::formats::hf::Folder;
use crate::models::config::{BertConfig, DecoderConfig};
use crate::models::families::Naming;
use crate::text::chat::ChatTemplate;
use crate::text::codec::{Codec, Control, Encoder, Parts, Words};
use crate::text::gguf as gguf_text;
use crate::text::library;
use crate::text::sentencepiece::{Pieces, SentencePiece};

/// Largest file that a target is ready to read.
const FILE_BYTES_MAX: u64 = 1 << 20;
const GUARD: char = '\u{E000}';
const TEXTS: [&str; 4] = ["", " the  fox's 1234\n\n", "🦊é▁中\u{0}", "<|end|>abcabcabc"];

thread_local! {
    static SCRATCH: LazyCell<TempDir> = LazyCell::new(|| {
        tempfile::tempdir().unwrap_or_else(|error| panic!("no scratch folder: {error}"))
    });
}

/// Takes away the fuzzer's hook, which ends the process at every panic. Those of libraries that we
/// catch are no findings; any other ends it still, when it reaches the fuzzer.
fn ready() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            if !info.location().is_some_and(|place| place.file().contains("registry")) {
                eprintln!("{info}");
            }
        }));
    });
}

/// Runs with a folder that holds these files.
fn with_files(files: &[(&str, &[u8])], run: impl FnOnce(&Path)) {
    SCRATCH.with(|scratch| {
        for (name, bytes) in files {
            std::fs::write(scratch.path().join(name), bytes)
                .unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        run(scratch.path());
        for (name, _) in files {
            drop(std::fs::remove_file(scratch.path().join(name)));
        }
    });
}

/// A whole GGUF file: header, configuration, vocabulary, template.
pub fn gguf(data: &[u8]) {
    ready();
    with_files(&[("m.gguf", data)], |folder| {
        // A refusal is what most inputs get, and as good as any other end.
        drop(read_gguf(&folder.join("m.gguf")));
    });
}

fn read_gguf(path: &Path) -> Result<(), InferenceError> {
    let file = gguf_file::parse(Blob::open(path, FILE_BYTES_MAX)?)?;
    let (metadata, weights) = (&file.metadata, &file.weights);
    for (name, entry) in &weights.entries {
        let shape: Vec<usize> = entry.shape.iter().map(|d| *d as usize).collect();
        drop(weights.f32(name, &shape));
    }
    let rows = gguf_text::vocabulary(metadata)?;
    drop(DecoderConfig::from_gguf(metadata, weights, rows).map(|c| c.expected(Naming::Gguf)));
    let codec = gguf_text::codec(metadata)?;
    assert_eq!(codec.vocabulary(), rows);
    exercise(&codec);
    if let Some(source) = metadata.text("tokenizer.chat_template")? {
        render(source, gguf_text::frame(metadata)?, ("[]", &codec));
    }
    Ok(())
}

/// Encodes; every token must be in the vocabulary.
fn exercise(codec: &Codec) {
    for text in TEXTS {
        let guarded = codec.guard(text, GUARD);
        let both = [codec.encode_text(text), codec.encode_rendered(&guarded, GUARD)];
        for id in both.into_iter().flatten().flatten() {
            assert!((id as usize) < codec.vocabulary(), "token {id}");
            codec.bytes(id);
        }
    }
}

/// A safetensors file, or an index and one: the first two bytes are the index's length.
pub fn safetensors(data: &[u8]) {
    ready();
    let Some((len, rest)) = data.split_first_chunk() else { return };
    let index = usize::from(u16::from_le_bytes(*len)).min(rest.len());
    let (index, file) = rest.split_at(index);
    let mut files = vec![("model.safetensors", file)];
    if !index.is_empty() {
        files.push(("model.safetensors.index.json", index));
    }
    with_files(&files, |folder| {
        let Ok((weights, _)) = Folder::new(folder).weights(FILE_BYTES_MAX) else { return };
        for (name, entry) in &weights.entries {
            let shape: Vec<usize> = entry.shape.iter().map(|d| *d as usize).collect();
            drop(weights.f32(name, &shape));
        }
    });
}

/// A `tokenizer.json`, for a network of 4,096 rows.
pub fn tokenizer(data: &[u8]) {
    ready();
    let Ok(tokenizer) = library::parse(data) else { return };
    let Ok(json) = serde_json::from_slice(data) else { return };
    if let Ok(codec) = library::codec(tokenizer, &json, (4096, Vec::new())) {
        exercise(&codec);
    }
}

/// A `config.json`, as a decoder's and as an encoder's.
pub fn config(data: &[u8]) {
    ready();
    with_files(&[("config.json", data)], |folder| {
        let folder = Folder::new(folder);
        for output in [true, false] {
            if let Ok(config) = DecoderConfig::from_hf(&folder, output) {
                config.expected(Naming::HuggingFace);
                config.rope.frequencies(64);
            }
        }
        drop(BertConfig::from_hf(&folder));
    });
}

/// A chat template and messages, with a zero byte between them.
pub fn template(data: &[u8]) {
    ready();
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (source, messages) = text.split_once('\0').unwrap_or((text, "[]"));
    render(source, ("<s>".to_owned(), "</s>".to_owned()), (messages, &small()));
}

fn render(source: &str, frame: (String, String), (messages, codec): (&str, &Codec)) {
    let Ok(template) = ChatTemplate::new(source.to_owned(), frame) else { return };
    let usual = r#"[{"role":"user","content":"a </s> b"}]"#;
    for messages in [messages, usual] {
        drop(template.encode((messages, &[]), codec));
    }
}

/// A codec whose tokens are the bytes.
fn small() -> Codec {
    let mut words = Words::default();
    for byte in 0..=255 {
        words.push(|out| out.push(byte));
    }
    let pieces = Pieces {
        pieces: Vec::new(),
        bytes: (0u32..).zip(0..=255).collect(),
        added: Vec::new(),
        unknown: 0,
        space_first: true,
    };
    let encoder = Encoder::SentencePiece(Box::new(SentencePiece::new(&pieces)));
    let control = |id, text: &str| Control {
        id,
        text: text.to_owned(),
        strips_left: false,
        strips_right: false,
    };
    let controls = vec![control(1, "<s>"), control(2, "</s>")];
    let parts = Parts { encoder, words, controls, prefix: Vec::new(), ends: vec![2] };
    Codec::new(parts).unwrap_or_else(|reason| panic!("{reason}"))
}

/// A grammar; the first byte says of which kind, the second how tokens are chosen.
pub fn grammar(data: &[u8]) {
    ready();
    let Some(([kind, choice], rest)) = data.split_first_chunk() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let grammar = match kind % 3 {
        0 => Grammar::Regex(text.to_owned()),
        1 => Grammar::Lark(text.to_owned()),
        _ => match serde_json::from_str(text) {
            Ok(schema) => Grammar::JsonSchema(schema),
            Err(_) => return,
        },
    };
    let bytes: Vec<[u8; 1]> = (0..=255).map(|byte| [byte]).collect();
    let tokens = bytes.iter().map(<[u8; 1]>::as_slice).chain([&[][..]]);
    let vocabulary = Vocabulary::new(tokens, &[256]);
    let vocabulary = vocabulary.unwrap_or_else(|error| panic!("{error}"));
    let Ok(mut constraint) = vocabulary.constrain(&grammar) else { return };
    for step in 0..16 {
        let Ok(mask) = constraint.mask() else { return };
        let allowed: Vec<u32> = (0..257).filter(|id| mask.allows(*id)).collect();
        let Some(id) = allowed.get((usize::from(*choice) + step) % allowed.len().max(1)) else {
            return;
        };
        if *id == 256 || constraint.accept(*id).is_err() {
            return;
        }
    }
}
