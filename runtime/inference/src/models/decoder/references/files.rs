//! A fixture's configuration with the weights that its script made, as files of either format.

use super::*;

/// Tokens of the fixtures' networks: control tokens, then characters.
fn vocabulary(count: usize) -> Vec<String> {
    let mut tokens: Vec<String> =
        ["<|pad|>", "<|bos|>", "<|x|>", "<|end|>"].map(str::to_owned).into();
    tokens.extend((33u8..=126).map(|c| char::from(c).to_string()));
    let rest = tokens.len()..count;
    tokens.extend(rest.map(|i| format!("<{i}>")));
    tokens
}

/// The script's `value`, bit for bit.
fn value(name: &str, shape: &[usize], config: &Map<String, Value>) -> Vec<f32> {
    let less_one = config["model_type"].as_str().unwrap().starts_with("gemma");
    let tied = config["tie_word_embeddings"] == true;
    let mut seed = 0xCBF2_9CE4_8422_2325u64;
    for byte in name.bytes() {
        seed = (seed ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3);
    }
    let noise = |i: usize| {
        let mut z = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(seed);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        (z >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let count = shape.iter().product();
    let scale = |x: f32| match shape.len() {
        1 if name.contains("norm") && !less_one => 1.0 + x * 0.25,
        1 => x * 0.25,
        _ if name.contains("embed_tokens") && !tied => x,
        _ => x * 0.25,
    };
    (0..count).map(|i| scale(noise(i))).collect()
}

type Tensor = (String, Vec<usize>, Vec<f32>);

fn size(config: &Map<String, Value>, key: &str) -> usize {
    config.get(key).and_then(Value::as_u64).unwrap_or(0) as usize
}

fn head_dims(config: &Map<String, Value>) -> usize {
    match size(config, "head_dim") {
        0 => size(config, "hidden_size") / size(config, "num_attention_heads"),
        dims => dims,
    }
}

/// All tensors under Hugging Face's names, as `save_pretrained` would write them.
fn tensors(config: &Map<String, Value>) -> Vec<Tensor> {
    let kind = config["model_type"].as_str().unwrap();
    let (hidden, ff) = (size(config, "hidden_size"), size(config, "intermediate_size"));
    let dims = head_dims(config);
    let query = size(config, "num_attention_heads") * dims;
    let kv = size(config, "num_key_value_heads") * dims;
    let table = vec![size(config, "vocab_size"), hidden];
    let mut all = vec![("model.embed_tokens.weight".to_owned(), table.clone())];
    all.push(("model.norm.weight".to_owned(), vec![hidden]));
    if config["tie_word_embeddings"] != true {
        all.push(("lm_head.weight".to_owned(), table));
    }
    let bias = |key: &str| config.get(key) == Some(&Value::Bool(true));
    for layer in 0..size(config, "num_hidden_layers") {
        let mut add = |name: &str, shape: &[usize], bias: bool| {
            let stem = format!("model.layers.{layer}.{name}");
            all.push((format!("{stem}.weight"), shape.to_vec()));
            if bias {
                all.push((format!("{stem}.bias"), vec![shape[0]]));
            }
        };
        let qkv = kind == "qwen2" || bias("attention_bias");
        if kind == "phi3" {
            add("self_attn.qkv_proj", &[query + 2 * kv, hidden], false);
            add("mlp.gate_up_proj", &[2 * ff, hidden], false);
        } else {
            add("self_attn.q_proj", &[query, hidden], qkv);
            add("self_attn.k_proj", &[kv, hidden], qkv);
            add("self_attn.v_proj", &[kv, hidden], qkv);
        }
        add("self_attn.o_proj", &[hidden, query], bias("attention_bias"));
        add("post_attention_layernorm", &[hidden], false);
        match kind {
            "gemma2" | "gemma3_text" => {
                add("input_layernorm", &[hidden], false);
                add("pre_feedforward_layernorm", &[hidden], false);
                add("post_feedforward_layernorm", &[hidden], false);
            }
            "olmo2" => add("post_feedforward_layernorm", &[hidden], false),
            _ => add("input_layernorm", &[hidden], false),
        }
        if matches!(kind, "qwen3" | "qwen3_moe" | "gemma3_text") {
            add("self_attn.q_norm", &[dims], false);
            add("self_attn.k_norm", &[dims], false);
        } else if kind == "olmo2" {
            add("self_attn.q_norm", &[query], false);
            add("self_attn.k_norm", &[kv], false);
        }
        if kind == "qwen3_moe" {
            let (count, width) =
                (size(config, "num_local_experts"), size(config, "moe_intermediate_size"));
            add("mlp.gate", &[count, hidden], false);
            for e in 0..count {
                add(&format!("mlp.experts.{e}.gate_proj"), &[width, hidden], false);
                add(&format!("mlp.experts.{e}.up_proj"), &[width, hidden], false);
                add(&format!("mlp.experts.{e}.down_proj"), &[hidden, width], false);
            }
            continue;
        }
        if kind != "phi3" {
            add("mlp.gate_proj", &[ff, hidden], bias("mlp_bias"));
            add("mlp.up_proj", &[ff, hidden], bias("mlp_bias"));
        }
        add("mlp.down_proj", &[hidden, ff], bias("mlp_bias"));
    }
    let fill = |(name, shape): (String, Vec<usize>)| {
        let values = value(&name, &shape, config);
        (name, shape, values)
    };
    all.into_iter().map(fill).collect()
}

pub(super) fn folder(config: &Map<String, Value>) -> Scratch {
    let folder = Scratch::new();
    folder.write("config.json", Value::Object(config.clone()).to_string());
    folder.write("model.safetensors", safetensors(&tensors(config)));
    let tokens = vocabulary(size(config, "vocab_size"));
    let vocab: Map<String, Value> =
        tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false,
        "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": byte_level,
        "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocab, "merges": []},
    });
    folder.write("tokenizer.json", tokenizer.to_string());
    folder
}

/// GGUF's name for a tensor of Hugging Face's.
fn gguf_name(name: &str, kind: &str) -> String {
    let (stem, suffix) = name.rsplit_once('.').unwrap();
    let Some(rest) = stem.strip_prefix("model.layers.") else {
        return match stem {
            "model.embed_tokens" => "token_embd.weight",
            "model.norm" => "output_norm.weight",
            _ => "output.weight",
        }
        .to_owned();
    };
    let (layer, part) = rest.split_once('.').unwrap();
    let sandwich = kind.starts_with("gemma") || kind == "olmo2";
    let part = match part {
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" if sandwich => "post_attention_norm",
        "post_attention_layernorm" | "pre_feedforward_layernorm" => "ffn_norm",
        "post_feedforward_layernorm" => "post_ffw_norm",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.qkv_proj" => "attn_qkv",
        "self_attn.o_proj" => "attn_output",
        "mlp.gate" => "ffn_gate_inp",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" | "mlp.gate_up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        other => panic!("no name for {other}"),
    };
    format!("blk.{layer}.{part}.{suffix}")
}

/// Rows of a head from pairs half a head apart to neighbours, as llama.cpp's converter does it.
fn interleave(values: &[f32], rows: usize, dims: usize) -> Vec<f32> {
    let width = values.len() / rows;
    let source = |r: usize| r - r % dims + r % dims / 2 + r % 2 * dims / 2;
    (0..rows).flat_map(|r| &values[source(r) * width..][..width]).copied().collect()
}

pub(super) fn gguf(config: &Map<String, Value>) -> GgufFile {
    let kind = config["model_type"].as_str().unwrap();
    let name = match kind {
        "mistral" => "llama",
        "qwen3_moe" => "qwen3moe",
        "gemma3_text" => "gemma3",
        other => other,
    };
    let mut file = GgufFile::default();
    file.set("general.architecture", Field::text(name));
    metadata(&mut file, config, name);
    let tokens = vocabulary(size(config, "vocab_size"));
    let kinds = (0..tokens.len()).map(|id| if id < 4 { 3 } else { 1 }).collect();
    file.set("tokenizer.ggml.model", Field::text("gpt2"));
    file.set("tokenizer.ggml.pre", Field::text("gpt-2"));
    file.set("tokenizer.ggml.tokens", Field::Texts(tokens));
    file.set("tokenizer.ggml.token_type", Field::I32s(kinds));
    file.set("tokenizer.ggml.merges", Field::Texts(vec![]));
    file.set("tokenizer.ggml.eos_token_id", Field::U32(3));
    let mut experts: Vec<Tensor> = Vec::new();
    for (hf, shape, mut values) in tensors(config) {
        if let Some((stem, rest)) = hf.split_once(".mlp.experts.") {
            let part = rest.split('.').nth(1).unwrap().trim_end_matches("_proj");
            let layer = stem.rsplit('.').next().unwrap();
            let name = format!("blk.{layer}.ffn_{part}_exps.weight");
            match experts.iter_mut().find(|(n, ..)| *n == name) {
                Some((_, shape, all)) => {
                    shape[0] += 1;
                    all.extend(values);
                }
                None => experts.push((name, vec![1, shape[0], shape[1]], values)),
            }
            continue;
        }
        let pairs = hf.contains("q_proj") || hf.contains("k_proj");
        if pairs && matches!(name, "llama" | "smollm3") {
            values = interleave(&values, shape[0], head_dims(config));
        }
        // Gemma's converter adds what its norms lack.
        if name.starts_with("gemma") && hf.contains("norm") {
            values.iter_mut().for_each(|v| *v += 1.0);
        }
        file.tensor(&gguf_name(&hf, kind), &shape, &values, false);
    }
    for (name, shape, values) in experts {
        file.tensor(&name, &shape, &values, false);
    }
    let scaling = &config["rope_parameters"];
    for which in ["short", "long"] {
        if let Some(list) = scaling[format!("{which}_factor")].as_array() {
            let values: Vec<f32> = list.iter().map(|v| v.as_f64().unwrap() as f32).collect();
            let name = format!("rope_factors_{which}.weight");
            file.tensor(&name, &[values.len()], &values, false);
        }
    }
    file
}

fn metadata(file: &mut GgufFile, config: &Map<String, Value>, name: &str) {
    let mut set = |key: &str, field: Field| file.set(&format!("{name}.{key}"), field);
    let number = |key: &str| size(config, key) as u32;
    for (key, hf) in [
        ("context_length", "max_position_embeddings"),
        ("embedding_length", "hidden_size"),
        ("block_count", "num_hidden_layers"),
        ("feed_forward_length", "intermediate_size"),
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
        ("attention.sliding_window", "sliding_window"),
        ("expert_count", "num_local_experts"),
        ("expert_used_count", "num_experts_per_tok"),
        ("expert_feed_forward_length", "moe_intermediate_size"),
    ] {
        if number(hf) > 0 {
            set(key, Field::U32(number(hf)));
        }
    }
    let dims = head_dims(config) as u32;
    set("attention.key_length", Field::U32(dims));
    set("attention.value_length", Field::U32(dims));
    set("attention.layer_norm_rms_epsilon", Field::F32(1e-5));
    for (key, hf) in [
        ("attn_logit_softcapping", "attn_logit_softcapping"),
        ("final_logit_softcapping", "final_logit_softcapping"),
    ] {
        if let Some(cap) = config.get(hf).and_then(Value::as_f64) {
            set(key, Field::F32(cap as f32));
        }
    }
    let rope = &config["rope_parameters"];
    let rope = rope.get("full_attention").unwrap_or(rope);
    set("rope.freq_base", Field::F32(rope["rope_theta"].as_f64().unwrap() as f32));
    let share = rope["partial_rotary_factor"].as_f64().unwrap_or(1.0);
    set("rope.dimension_count", Field::U32((f64::from(dims) * share) as u32));
    let kind = rope["rope_type"].as_str().unwrap();
    if matches!(kind, "linear" | "yarn") {
        set("rope.scaling.type", Field::text(kind));
        set("rope.scaling.factor", Field::F32(rope["factor"].as_f64().unwrap() as f32));
    }
    if let Some(original) = rope["original_max_position_embeddings"].as_u64() {
        set("rope.scaling.original_context_length", Field::U32(original as u32));
        if kind == "longrope" {
            let context = size(config, "max_position_embeddings") as f64;
            let factor = rope["factor"].as_f64().unwrap_or(context / original as f64);
            let grown = (1.0 + factor.ln() / (original as f64).ln()).sqrt();
            set("rope.scaling.attn_factor", Field::F32(grown as f32));
        }
    }
}
