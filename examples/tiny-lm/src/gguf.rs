//! Writes and reads the artifact: a GGUF v3 file with Q8_0 matrices, F32 norms, the tokenizer and
//! the chat template. The format is described at <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod read;

pub(crate) use read::read;

use crate::config::{
    CHAT_TEMPLATE, CONTEXT, D_FF, D_MODEL, END_ID, HEAD_DIM, HEADS, LAYERS, NORM_EPS, PAD_ID,
    ROPE_BASE, SPECIALS, VOCAB,
};
use crate::tokenizer::Tokenizer;
use crate::weights::{Weights, quantize};
use anyhow::{Context, Result};
use std::path::Path;

/// First bytes of the file.
pub(crate) const MAGIC: &[u8; 4] = b"GGUF";
/// Version of the format.
pub(crate) const VERSION: u32 = 3;
/// Tensors start at multiples of this many bytes.
pub(crate) const ALIGNMENT: usize = 32;
/// `general.file_type` of a file whose matrices are mostly Q8_0.
const FILE_TYPE_Q8_0: u32 = 7;
/// Type id of F32 tensors.
pub(crate) const TENSOR_F32: u32 = 0;
/// Type id of Q8_0 tensors.
pub(crate) const TENSOR_Q8_0: u32 = 8;
const TOKEN_NORMAL: i32 = 1;
const TOKEN_CONTROL: i32 = 3;

/// A metadata value; the numbers in [`Value::id`] are the format's.
pub(crate) enum Value {
    /// 32 bits without sign.
    U32(u32),
    /// Single precision.
    F32(f32),
    /// One byte.
    Bool(bool),
    /// UTF-8.
    Text(String),
    /// An array of texts.
    Texts(Vec<String>),
    /// An array of 32-bit integers.
    I32s(Vec<i32>),
}

impl Value {
    fn id(&self) -> u32 {
        match self {
            Self::U32(_) => 4,
            Self::F32(_) => 6,
            Self::Bool(_) => 7,
            Self::Text(_) => 8,
            Self::Texts(_) | Self::I32s(_) => 9,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::U32(value) => out.extend(value.to_le_bytes()),
            Self::F32(value) => out.extend(value.to_le_bytes()),
            Self::Bool(value) => out.push(u8::from(*value)),
            Self::Text(text) => write_text(out, text),
            Self::Texts(texts) => {
                write_array(out, 8, texts.len());
                texts.iter().for_each(|text| write_text(out, text));
            }
            Self::I32s(values) => {
                write_array(out, 5, values.len());
                values.iter().for_each(|value| out.extend(value.to_le_bytes()));
            }
        }
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

fn write_array(out: &mut Vec<u8>, id: u32, len: usize) {
    out.extend(id.to_le_bytes());
    out.extend((len as u64).to_le_bytes());
}

/// The metadata of the file, in its order.
fn metadata(tokenizer: &Tokenizer) -> Vec<(&'static str, Value)> {
    let number = |value: usize| Value::U32(value as u32);
    let text = |value: &str| Value::Text(value.to_owned());
    let special = |token: &String| SPECIALS.contains(&token.as_str());
    let kind = |token| if special(token) { TOKEN_CONTROL } else { TOKEN_NORMAL };
    let merges = tokenizer.merges.iter().map(|(a, b)| format!("{a} {b}")).collect();
    vec![
        ("general.architecture", text("llama")),
        ("general.name", text("tiny-storyteller")),
        ("general.description", text("Tells short stories; trained by Emberbox's tiny-lm example")),
        ("general.license", text("apache-2.0")),
        ("general.alignment", number(ALIGNMENT)),
        ("general.file_type", Value::U32(FILE_TYPE_Q8_0)),
        ("general.quantization_version", Value::U32(2)),
        ("llama.block_count", number(LAYERS)),
        ("llama.context_length", number(CONTEXT)),
        ("llama.embedding_length", number(D_MODEL)),
        ("llama.feed_forward_length", number(D_FF)),
        ("llama.attention.head_count", number(HEADS)),
        ("llama.attention.head_count_kv", number(HEADS)),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(NORM_EPS)),
        ("llama.rope.dimension_count", number(HEAD_DIM)),
        ("llama.rope.freq_base", Value::F32(ROPE_BASE)),
        ("llama.vocab_size", number(VOCAB)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("gpt-2")),
        ("tokenizer.ggml.tokens", Value::Texts(tokenizer.tokens.clone())),
        ("tokenizer.ggml.token_type", Value::I32s(tokenizer.tokens.iter().map(kind).collect())),
        ("tokenizer.ggml.merges", Value::Texts(merges)),
        ("tokenizer.ggml.bos_token_id", Value::U32(END_ID)),
        ("tokenizer.ggml.eos_token_id", Value::U32(END_ID)),
        ("tokenizer.ggml.padding_token_id", Value::U32(PAD_ID)),
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
        ("tokenizer.chat_template", text(CHAT_TEMPLATE)),
    ]
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
}

/// The bytes of the file.
///
/// # Errors
/// Fails when a weight is not finite.
pub(crate) fn bytes(weights: &Weights, tokenizer: &Tokenizer) -> Result<Vec<u8>> {
    let metadata = metadata(tokenizer);
    let mut out = MAGIC.to_vec();
    out.extend(VERSION.to_le_bytes());
    out.extend((weights.matrices.len() as u64).to_le_bytes());
    out.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in &metadata {
        write_text(&mut out, key);
        out.extend(value.id().to_le_bytes());
        value.write(&mut out);
    }
    let mut blob = Vec::new();
    for matrix in &weights.matrices {
        write_text(&mut out, &matrix.name);
        let (dims, kind): (&[usize], _) = if matrix.is_norm() {
            (&[matrix.columns], TENSOR_F32)
        } else {
            (&[matrix.columns, matrix.rows], TENSOR_Q8_0)
        };
        out.extend((dims.len() as u32).to_le_bytes());
        dims.iter().for_each(|dim| out.extend((*dim as u64).to_le_bytes()));
        out.extend(kind.to_le_bytes());
        pad(&mut blob);
        out.extend((blob.len() as u64).to_le_bytes());
        if matrix.is_norm() {
            matrix.values.iter().for_each(|value| blob.extend(value.to_le_bytes()));
        } else {
            blob.extend(quantize(&matrix.values)?);
        }
    }
    pad(&mut out);
    out.extend(blob);
    pad(&mut out);
    Ok(out)
}

/// Writes the file; a reader never sees half of one.
///
/// # Errors
/// Fails when a weight is not finite or the disk refuses.
pub(crate) fn write(path: &Path, weights: &Weights, tokenizer: &Tokenizer) -> Result<usize> {
    let bytes = bytes(weights, tokenizer)?;
    let partial = path.with_extension("gguf.partial");
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&partial, &bytes).with_context(|| format!("writing {}", partial.display()))?;
    std::fs::rename(&partial, path).with_context(|| format!("writing {}", path.display()))?;
    Ok(bytes.len())
}

#[cfg(test)]
mod tests;
