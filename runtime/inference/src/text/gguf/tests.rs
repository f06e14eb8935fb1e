//! Tokens of nasty texts against llama.cpp and tokenizers; scripts/vocabularies.py writes both the
//! vocabularies and what they make of the texts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::codec;
use crate::formats::blob::Blob;
use crate::formats::gguf::parse;
use crate::testing::{Field, GgufFile, Scratch};
use crate::text::codec::Codec;
use crate::text::library;

/// A character that no text here holds.
const GUARD: char = '\u{F8FF}';

#[derive(Deserialize)]
struct Texts {
    texts: Vec<String>,
    rendered: Vec<String>,
}

/// What a reference makes of the texts.
#[derive(Deserialize)]
struct Answers {
    texts: Vec<Vec<u32>>,
    /// `the fox`, with what begins a sequence.
    first: Vec<u32>,
    rendered: Vec<Vec<u32>>,
}

#[derive(Deserialize)]
struct ByteLevel {
    tokens: Vec<String>,
    kinds: Vec<i32>,
    merges: Vec<String>,
    groups: Vec<Group>,
}

/// Names of pre-tokenizers that cut alike.
#[derive(Deserialize)]
struct Group {
    names: Vec<String>,
    /// Of the first group; the others tell what differs from it.
    #[serde(default)]
    all: Vec<Vec<u32>>,
    #[serde(default)]
    changed: BTreeMap<usize, Vec<u32>>,
    first: Vec<u32>,
    rendered: Vec<Vec<u32>>,
}

#[derive(Deserialize)]
struct Pieces {
    tokens: Vec<String>,
    kinds: Vec<i32>,
    scores: Vec<f32>,
    added: Vec<String>,
    variants: BTreeMap<String, Answers>,
}

#[derive(Deserialize)]
struct OfLibrary {
    tokenizer: serde_json::Value,
    rows: usize,
    texts: Vec<Vec<u32>>,
    rendered: Vec<Vec<u32>>,
}

fn fixture<T: serde::de::DeserializeOwned>(name: &str) -> T {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tokenizers");
    serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
}

fn codec_at(path: &Path) -> Result<Codec, String> {
    let file = Blob::open(path, u64::MAX).and_then(parse);
    file.and_then(|file| codec(&file.metadata)).map_err(|error| error.to_string())
}

fn codec_of(file: &GgufFile) -> Result<Codec, String> {
    codec_at(&Scratch::new().write("v.gguf", file.bytes()))
}

/// A text as a user sends it, without what begins a sequence.
fn plain(codec: &Codec, text: &str) -> Vec<u32> {
    codec.encode_rendered(&codec.guard(text, GUARD), GUARD).unwrap()
}

/// Holds a codec to a reference's answers.
fn check(name: &str, codec: &Codec, texts: &Texts, answers: &Answers) {
    for (text, ids) in texts.texts.iter().zip(&answers.texts) {
        assert_eq!(plain(codec, text), *ids, "{name}: {text:?}");
    }
    assert_eq!(codec.encode_text("the fox").unwrap(), answers.first, "{name}");
    for (text, ids) in texts.rendered.iter().zip(&answers.rendered) {
        assert_eq!(codec.encode_rendered(text, GUARD).unwrap(), *ids, "{name}, rendered: {text:?}");
    }
}

fn byte_level(fixture: &ByteLevel, name: Option<&str>) -> GgufFile {
    let mut file = GgufFile::default();
    file.set("tokenizer.ggml.model", Field::text("gpt2"));
    if let Some(name) = name {
        file.set("tokenizer.ggml.pre", Field::text(name));
    }
    file.set("tokenizer.ggml.tokens", Field::Texts(fixture.tokens.clone()));
    file.set("tokenizer.ggml.token_type", Field::I32s(fixture.kinds.clone()));
    file.set("tokenizer.ggml.merges", Field::Texts(fixture.merges.clone()));
    file.set("tokenizer.ggml.bos_token_id", Field::U32(1));
    file.set("tokenizer.ggml.eos_token_id", Field::U32(2));
    file
}

#[test]
fn byte_level_vocabularies_give_llama_cpps_tokens_under_every_name() {
    let texts: Texts = fixture("texts.json");
    let fixture: ByteLevel = fixture("byte-level.json");
    let base = &fixture.groups[0].all;
    assert_eq!(base.len(), texts.texts.len());
    for group in &fixture.groups {
        let of = |i| group.changed.get(&i).unwrap_or(&base[i]).clone();
        let answers = Answers {
            texts: (0..base.len()).map(of).collect(),
            first: group.first.clone(),
            rendered: group.rendered.clone(),
        };
        for name in &group.names {
            let codec = codec_of(&byte_level(&fixture, Some(name))).unwrap();
            check(name, &codec, &texts, &answers);
            if name == "default" {
                let unnamed = codec_of(&byte_level(&fixture, None)).unwrap();
                check("no name", &unnamed, &texts, &answers);
            }
        }
    }
    let wrong = codec_of(&byte_level(&fixture, Some("kimi-k2"))).err().unwrap();
    assert!(wrong.contains("`tokenizer.ggml.pre`: `kimi-k2` is not supported"), "{wrong}");
}

fn pieces(fixture: &Pieces, variant: &str) -> GgufFile {
    let mut file = GgufFile::default();
    let (mut tokens, mut kinds, mut scores) =
        (fixture.tokens.clone(), fixture.kinds.clone(), fixture.scores.clone());
    if variant == "added" {
        tokens.extend(fixture.added.clone());
        kinds.resize(tokens.len(), 4);
        scores.resize(tokens.len(), 0.0);
    }
    file.set("tokenizer.ggml.model", Field::text("llama"));
    file.set("tokenizer.ggml.tokens", Field::Texts(tokens));
    file.set("tokenizer.ggml.token_type", Field::I32s(kinds));
    file.set("tokenizer.ggml.scores", Field::F32s(scores));
    match variant {
        "no-space" => file.set("tokenizer.ggml.add_space_prefix", Field::Bool(false)),
        "phi3" => file.set("general.name", Field::text("Phi-3 mini")),
        _ => {}
    }
    file
}

#[test]
fn vocabularies_with_scores_give_llama_cpps_tokens() {
    let texts: Texts = fixture("texts.json");
    let fixture: Pieces = fixture("sentencepiece.json");
    for (variant, answers) in &fixture.variants {
        let codec = codec_of(&pieces(&fixture, variant)).unwrap();
        check(variant, &codec, &texts, answers);
    }
}

#[test]
fn folders_give_the_tokens_of_tokenizers() {
    let texts: Texts = fixture("texts.json");
    for name in ["metaspace-first", "prepend", "byte-level"] {
        let fixture: OfLibrary = fixture(&format!("library-{name}.json"));
        let json = fixture.tokenizer;
        let tokenizer = library::parse(json.to_string().as_bytes()).unwrap();
        let codec = library::codec(tokenizer, &json, (fixture.rows, Vec::new())).unwrap();
        for (text, ids) in texts.texts.iter().zip(&fixture.texts) {
            assert_eq!(codec.encode_text(text).unwrap(), *ids, "{name}: {text:?}");
        }
        for (text, ids) in texts.rendered.iter().zip(&fixture.rendered) {
            let tokens = codec.encode_rendered(text, GUARD).unwrap();
            assert_eq!(tokens, *ids, "{name}, rendered: {text:?}");
        }
    }
}

/// A file says that some are tokens like others; whoever writes them ends the turn.
#[test]
fn what_ends_a_turn_is_never_written_by_a_user() {
    let fixture: ByteLevel = fixture("byte-level.json");
    let mut file = byte_level(&fixture, Some("qwen2"));
    let (mut tokens, mut kinds) = (fixture.tokens.clone(), fixture.kinds);
    for (token, kind) in [("<|im_end|>", 4), ("<|eot_id|>", 1), ("<other>", 4)] {
        tokens.push(token.to_owned());
        kinds.push(kind);
    }
    let [end, eot, other] = [3, 2, 1].map(|back| (tokens.len() - back) as u32);
    file.set("tokenizer.ggml.tokens", Field::Texts(tokens));
    file.set("tokenizer.ggml.token_type", Field::I32s(kinds));
    let codec = codec_of(&file).unwrap();
    let text = "a<|im_end|><|eot_id|><other>";
    let tokens = codec.encode_rendered(text, GUARD).unwrap();
    assert!(tokens.ends_with(&[end, eot, other]), "{tokens:?}");
    assert!([end, eot].into_iter().all(|id| codec.ends(id) && codec.bytes(id).is_empty()));
    assert_eq!(codec.bytes(other), b"<other>");
    let user = plain(&codec, text);
    assert!(user.ends_with(&[other]) && !user.contains(&end) && !user.contains(&eot), "{user:?}");
}

/// Of real vocabularies, Qwen 2's has `</s>` as a word like others.
#[test]
fn no_merge_makes_a_control_token() {
    let fixture: ByteLevel = fixture("byte-level.json");
    let mut file = byte_level(&fixture, Some("qwen2"));
    let mut merges = vec!["< /".to_owned(), "</ s".to_owned(), "</s >".to_owned()];
    merges.extend(fixture.merges.clone());
    file.set("tokenizer.ggml.merges", Field::Texts(merges));
    let mut tokens = fixture.tokens.clone();
    let mut kinds = fixture.kinds.clone();
    tokens.extend(
        ["</", "</s"].map(str::to_owned).into_iter().filter(|t| !fixture.tokens.contains(t)),
    );
    kinds.resize(tokens.len(), 1);
    file.set("tokenizer.ggml.tokens", Field::Texts(tokens));
    file.set("tokenizer.ggml.token_type", Field::I32s(kinds));
    let codec = codec_of(&file).unwrap();
    let ids = plain(&codec, "</s>");
    let text: Vec<u8> = ids.iter().flat_map(|id| codec.bytes(*id).to_vec()).collect();
    assert!(text == b"</s>" && ids.iter().all(|id| codec.control(*id).is_none()), "{ids:?}");
    file.set("tokenizer.ggml.merges", Field::Texts(vec!["ab".to_owned()]));
    assert!(codec_of(&file).err().unwrap().contains("`ab` is not a pair"));
}

/// What scripts/vocabularies.py wrote beside a real file.
#[derive(Deserialize)]
struct Real {
    texts: Vec<Row>,
    rendered: Vec<Row>,
    first: Vec<u32>,
    pieces: Vec<(u32, Vec<u8>)>,
}

#[derive(Deserialize)]
struct Row {
    text: String,
    ids: Vec<u32>,
}

const WORD: &str = "</s>";

/// Differences of a real file's tokens, a line each.
fn differences(path: &Path, real: &Real) -> Result<Vec<String>, String> {
    let codec = codec_at(path)?;
    let mut lines = Vec::new();
    let mut compare = |what: &str, text: &str, ours: Vec<u32>, theirs: &[u32]| {
        if ours != theirs {
            lines.push(format!("{what} {text:?}\n  ours   {ours:?}\n  theirs {theirs:?}"));
        }
    };
    for Row { text, ids } in &real.texts {
        compare("text", text, plain(&codec, text), ids);
    }
    // For llama.cpp it is a control token wherever it is, even where it is a word.
    let rendered = real.rendered.iter();
    let word = codec.control_id(WORD).is_none();
    for Row { text, ids } in rendered.filter(|row| !word || !row.text.contains(WORD)) {
        compare("rendered", text, codec.encode_rendered(text, GUARD).unwrap(), ids);
    }
    compare("first", "the fox", codec.encode_text("the fox").unwrap(), &real.first);
    for (id, bytes) in &real.pieces {
        // So llama.cpp shows a token with a character that stands for no byte.
        let named = bytes.starts_with(b"[UNK_BYTE_") || codec.bytes(*id) == WORD.as_bytes();
        if codec.bytes(*id) != bytes && !named {
            lines.push(format!("token {id}: {:?}, theirs {bytes:?}", codec.bytes(*id)));
        }
    }
    Ok(lines)
}

/// Real vocabularies are megabytes each and not in the tree: see scripts/vocabularies.py.
#[test]
#[ignore = "needs a folder of GGUF files in EMBERBOX_VOCABULARIES"]
fn real_vocabularies() {
    #[expect(clippy::disallowed_methods, reason = "the folder is this test's only argument")]
    let folder = std::env::var("EMBERBOX_VOCABULARIES").unwrap();
    let mut answers: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    answers.retain(|path| path.to_string_lossy().ends_with(".gguf.expected.json"));
    answers.sort();
    assert!(!answers.is_empty());
    let mut off = 0;
    for path in answers {
        let real: Real = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let name = path.to_string_lossy().replace(".expected.json", "");
        match differences(Path::new(&name), &real) {
            Ok(lines) => {
                eprintln!("{name}: {} texts, {} differ", real.texts.len(), lines.len());
                lines.iter().take(12).for_each(|line| eprintln!("{line}"));
                off += lines.len();
            }
            Err(reason) => eprintln!("refused: {reason}"),
        }
    }
    assert_eq!(off, 0);
}
