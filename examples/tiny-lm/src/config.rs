//! The numbers that define the model: its shape, its context and its special tokens.

/// Width of the residual stream.
pub(crate) const D_MODEL: usize = 192;
/// Transformer blocks.
pub(crate) const LAYERS: usize = 6;
/// Attention heads; keys and values have as many.
pub(crate) const HEADS: usize = 6;
/// Width of one head.
pub(crate) const HEAD_DIM: usize = D_MODEL / HEADS;
/// Inner width of the feed-forward block.
pub(crate) const D_FF: usize = 512;
/// The longest chat that the model was trained on, in tokens.
pub(crate) const CONTEXT: usize = 256;
/// Size of the vocabulary: a multiple of 32, so that Q8_0 blocks never straddle rows.
pub(crate) const VOCAB: usize = 2048;
/// Added to the mean square in every norm.
pub(crate) const NORM_EPS: f32 = 1e-5;
/// Base of the rotary embedding's frequencies.
pub(crate) const ROPE_BASE: f32 = 10_000.0;

/// Fills unused positions; the model never sees or emits it.
pub(crate) const PAD: &str = "<|pad|>";
/// Starts what the user says.
pub(crate) const USER: &str = "<|user|>";
/// Starts what the model says.
pub(crate) const ASSISTANT: &str = "<|assistant|>";
/// Ends every message; after the model's it means that it has finished.
pub(crate) const END: &str = "<|end|>";
/// The special tokens in the order of their ids, which start at 0.
pub(crate) const SPECIALS: [&str; 4] = [PAD, USER, ASSISTANT, END];
/// Id of [`PAD`].
pub(crate) const PAD_ID: u32 = 0;
/// Id of [`END`].
pub(crate) const END_ID: u32 = 3;

/// The chat template, as Hugging Face writes them. System messages are accepted and skipped: the
/// model was never trained on one.
pub(crate) const CHAT_TEMPLATE: &str = concat!(
    "{%- for message in messages -%}",
    "{%- if message['role'] == 'user' -%}",
    "{{- '<|user|>' + message['content'] + '<|end|>' -}}",
    "{%- elif message['role'] == 'assistant' -%}",
    "{{- '<|assistant|>' + message['content'] + '<|end|>' -}}",
    "{%- endif -%}",
    "{%- endfor -%}",
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}",
);
