use super::{DecoderConfig, Rope, RopeScaling};
use crate::ModelSource;
use crate::formats::blob::Blob;
use crate::formats::gguf::parse;
use crate::models::load::check;
use crate::testing::{Field, GgufFile, SIZES, Scratch, Sizes, random_folder, random_gguf};

fn outcome(source: &ModelSource) -> String {
    match check("m", source, u64::MAX) {
        Ok(checked) => format!("{:?}", checked.info),
        Err(error) => error.to_string(),
    }
}

fn check_gguf(change: impl FnOnce(&mut GgufFile), expect: &str) {
    let mut file = random_gguf(SIZES, false);
    change(&mut file);
    let scratch = Scratch::new();
    let outcome = outcome(&ModelSource::Path(scratch.write("m.gguf", file.bytes())));
    assert!(outcome.contains(expect), "expected `{expect}` in `{outcome}`");
}

#[test]
fn a_gguf_that_is_no_plain_llama_is_refused_with_its_field() {
    let number = |key: &'static str, value| move |f: &mut GgufFile| f.set(key, Field::U32(value));
    let text = |key: &'static str, v| move |f: &mut GgufFile| f.set(key, Field::text(v));
    check_gguf(|_| {}, "architecture: \"llama\"");
    check_gguf(text("general.architecture", "mamba"), "`mamba` is not supported");
    check_gguf(
        |f| f.fields.retain(|(k, _)| k != "llama.block_count"),
        "`llama.block_count`: is missing",
    );
    check_gguf(number("llama.block_count", 0), "is zero");
    check_gguf(number("llama.block_count", u32::MAX), "more than");
    check_gguf(number("llama.block_count", 3), "`blk.2.attn_norm.weight` is missing");
    check_gguf(number("llama.block_count", 1), "is not part of a `llama` network");
    check_gguf(number("llama.embedding_length", 32), "has shape");
    check_gguf(number("llama.attention.head_count", 8), "has shape");
    check_gguf(number("llama.attention.head_count_kv", 3), "do not share");
    check_gguf(number("llama.rope.dimension_count", 8), "differs from the head's");
    check_gguf(number("llama.expert_count", 8), "mixtures of experts");
    check_gguf(text("llama.context_length", "x"), "`llama.context_length`: is not a whole number");
    check_gguf(text("llama.rope.scaling.type", "ntk"), "`ntk` is not supported");
    check_gguf(text("tokenizer.ggml.model", "bert"), "`bert` is not supported");
    check_gguf(text("tokenizer.ggml.pre", "kimi-k2"), "`kimi-k2` is not supported");
    check_gguf(number("tokenizer.ggml.eos_token_id", 9_999), "outside the vocabulary");
    check_gguf(
        |f| f.set("tokenizer.ggml.merges", Field::Texts(vec!["x".to_owned()])),
        "not a pair",
    );
    check_gguf(|f| f.set("tokenizer.ggml.tokens", Field::Texts(vec![])), "0 entries");
    check_gguf(|f| f.set("tokenizer.ggml.tokens", Field::I32s(vec![1; 264])), "but strings");
    check_gguf(|f| f.set("tokenizer.ggml.token_type", Field::I32s(vec![1])), "has 1 entries");
    check_gguf(
        |f| f.tensor("blk.0.attn_q.bias", &[64], &[0.0; 64], false),
        "`blk.0.attn_k.bias` is missing",
    );
    check_gguf(|f| f.tensors.truncate(5), "is missing");
}

/// A changed file's configuration, as another architecture.
fn config_of(architecture: &str, change: impl FnOnce(&mut GgufFile)) -> DecoderConfig {
    let mut file = random_gguf(Sizes { layers: 8, ..SIZES }, false);
    change(&mut file);
    file.set("general.architecture", Field::text(architecture));
    for (key, _) in &mut file.fields {
        *key = key.replace("llama.", &format!("{architecture}."));
    }
    let scratch = Scratch::new();
    let path = scratch.write("m.gguf", file.bytes());
    let file = parse(Blob::open(&path, u64::MAX).unwrap()).unwrap();
    DecoderConfig::from_gguf(&file.metadata, &file.weights, 264).unwrap()
}

#[test]
fn rope_scaling_is_read_as_llama_cpp_reads_it() {
    type Change = fn(&mut GgufFile);
    let yarn = RopeScaling::Yarn {
        factor: 4.0,
        fast: 32.0,
        slow: 1.0,
        original_context: 256.0,
        magnitude: 1.0 + 0.1 * 4f64.ln(),
    };
    let rows: [(Change, RopeScaling); 6] = [
        (|_| {}, RopeScaling::None),
        // A type or a context that is not given has a meaning, and so has the old name.
        (|f| f.set("llama.rope.scaling.factor", Field::F32(4.0)), RopeScaling::Linear(4.0)),
        (|f| f.set("llama.rope.scale_linear", Field::F32(2.0)), RopeScaling::Linear(2.0)),
        (
            |f| {
                f.set("llama.rope.scaling.type", Field::text("none"));
                f.set("llama.rope.scaling.factor", Field::F32(4.0));
            },
            RopeScaling::None,
        ),
        (
            |f| {
                f.set("llama.rope.scaling.type", Field::text("yarn"));
                f.set("llama.rope.scaling.factor", Field::F32(4.0));
            },
            yarn,
        ),
        (
            |f| {
                f.tensor("rope_freqs.weight", &[8], &[1.5; 8], false);
                f.set("llama.rope.scaling.factor", Field::F32(2.0));
            },
            RopeScaling::Divisors(vec![3.0; 8]),
        ),
    ];
    for (change, expect) in rows {
        assert_eq!(config_of("llama", change).rope.scaling, expect);
    }
}

#[test]
fn windows_are_on_the_layers_that_the_file_or_the_family_says() {
    let windows = |architecture: &str, change: fn(&mut GgufFile)| {
        let config = config_of(architecture, |f| {
            f.set("llama.attention.sliding_window", Field::U32(64));
            change(f);
        });
        let layers: String =
            config.layers.iter().map(|l| if l.window.is_some() { 'w' } else { '.' }).collect();
        (layers, config)
    };
    let none = |_: &mut GgufFile| {};
    assert_eq!(windows("llama", none).0, "wwwwwwww");
    assert_eq!(windows("gemma2", none).0, "w.w.w.w.");
    assert_eq!(windows("gemma3", none).0, "wwwww.ww");
    assert_eq!(config_of("olmo2", none).layers.iter().filter(|l| l.window.is_some()).count(), 0);
    // OLMo 3: scaled frequencies are for the layers without a window only.
    let (layers, config) = windows("olmo2", |f| {
        f.set("llama.rope.scaling.type", Field::text("yarn"));
        f.set("llama.rope.scaling.factor", Field::F32(8.0));
    });
    assert_eq!(layers, "www.www.");
    assert_eq!(config.rope_local.unwrap().scaling, RopeScaling::None);
    const PATTERN: &str = "llama.attention.sliding_window_pattern";
    let (layers, config) =
        windows("olmo2", |f| f.set(PATTERN, Field::I32s(vec![0, 1, 1, 0, 1, 1, 1, 0])));
    assert_eq!((layers.as_str(), config.rope_local), (".ww.www.", None));
    assert_eq!(windows("gemma3", |f| f.set(PATTERN, Field::U32(3))).0, "ww.ww.ww");
    check_gguf(
        |f| {
            f.set("llama.attention.sliding_window", Field::U32(64));
            f.set(PATTERN, Field::I32s(vec![1]));
        },
        "does not tell of every layer",
    );
}

fn check_folder(file: &str, from: &str, to: &str, expect: &str) {
    let folder = random_folder(SIZES);
    let path = folder.path().join(file);
    let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
    assert!(text.contains(from), "`{from}` is not in {file}");
    folder.write(file, text.replace(from, to));
    let outcome = outcome(&ModelSource::Path(folder.path().to_owned()));
    assert!(outcome.contains(expect), "expected `{expect}` in `{outcome}`");
}

#[test]
fn a_folder_that_is_no_plain_llama_is_refused_with_its_file_and_field() {
    const CONFIG: &str = "config.json";
    check_folder(CONFIG, "\"llama\"", "\"t5\"", "`t5` is not supported");
    check_folder(CONFIG, "{", "", "config.json: ");
    check_folder(CONFIG, "hidden_size", "size_hidden", "`hidden_size`: is missing");
    check_folder(CONFIG, "\"hidden_size\":64", "\"hidden_size\":-1", "config.json: ");
    check_folder(CONFIG, "\"hidden_size\":64", "\"hidden_size\":0", "`hidden_size`: is zero");
    check_folder(CONFIG, "\"vocab_size\":264", "\"vocab_size\":265", "has shape");
    check_folder(CONFIG, "\"vocab_size\":264", "\"vocab_size\":2", "outside the vocabulary");
    check_folder(
        CONFIG,
        "\"eos_token_id\":3",
        "\"mlp_bias\":true",
        "mlp.gate_proj.bias` is missing",
    );
    check_folder(
        CONFIG,
        "\"eos_token_id\":3",
        "\"rope_scaling\":{\"rope_type\":\"dynamic\"}",
        "`dynamic` is not supported",
    );
    check_folder("tokenizer.json", "{", "", "tokenizer.json: ");
    check_folder("tokenizer.json", "\"BPE\"", "\"XYZ\"", "tokenizer.json: ");
    check_folder("tokenizer_config.json", "endfor", "endfox", "chat_template");
}

#[test]
fn a_missing_file_is_named() {
    for file in ["config.json", "tokenizer.json", "model.safetensors"] {
        let folder = random_folder(SIZES);
        std::fs::remove_file(folder.path().join(file)).unwrap();
        let outcome = outcome(&ModelSource::Path(folder.path().to_owned()));
        assert!(outcome.contains(&format!("{file}: the file is missing")), "{outcome}");
    }
    assert!(outcome(&ModelSource::Path("/nowhere/x.gguf".into())).contains("/nowhere/x.gguf"));
    assert!(outcome(&ModelSource::Path("/dev/zero".into())).contains("not a regular file"));
}

#[test]
fn shards_are_found_by_the_index_and_stay_in_the_folder() {
    for (name, expect) in
        [("model.safetensors", "\"llama\""), ("../x", "is not the name"), ("gone", "is missing")]
    {
        let folder = random_folder(SIZES);
        let index = format!(r#"{{"weight_map":{{"a":"{name}"}}}}"#);
        folder.write("model.safetensors.index.json", index);
        let outcome = outcome(&ModelSource::Path(folder.path().to_owned()));
        assert!(outcome.contains(expect), "expected `{expect}` in `{outcome}`");
    }
}

#[test]
fn rope_scaling_stretches_the_low_frequencies() {
    let mut rope = Rope { dims: 64, theta: 500_000.0, scaling: RopeScaling::None };
    let plain = rope.frequencies(1).0;
    assert!((plain[0] - 1.0).abs() < 1e-12 && (plain[16] - 500_000f64.powf(-0.5)).abs() < 1e-12);
    rope.scaling =
        RopeScaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original_context: 8_192.0 };
    let scaled = rope.frequencies(1).0;
    assert_eq!(scaled[0], plain[0]);
    assert!((scaled[31] - plain[31] / 8.0).abs() < 1e-15);
    // Between the two ends: wavelengths from 2048 to 8192.
    let between = (0..32).filter(|i| scaled[*i] < plain[*i] && scaled[*i] > plain[*i] / 7.999);
    assert!(between.count() >= 2);
    rope.scaling = RopeScaling::Linear(4.0);
    assert_eq!(rope.frequencies(1).0[5], plain[5] / 4.0);
    rope.scaling = RopeScaling::Divisors(vec![2.0; 32]);
    assert_eq!(rope.frequencies(1).0[5], plain[5] / 2.0);
    let (short, long) = (vec![2.0; 32], vec![4.0; 32]);
    rope.scaling = RopeScaling::Long { short, long, original_context: 100.0, magnitude: 1.5 };
    assert_eq!(rope.frequencies(100).0[5], plain[5] / 2.0);
    assert_eq!(rope.frequencies(101), (plain.iter().map(|f| f / 4.0).collect(), 1.5));
}
