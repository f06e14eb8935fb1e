//! From text to tokens and back.

/// Chat templates.
pub(crate) mod chat;
/// Encoding and decoding.
pub(crate) mod codec;
/// The tokenizers that `tokenizer.json` describes.
pub(crate) mod library;
/// The tokenizers that GGUF files describe.
pub(crate) mod gguf;
/// Tokens by score.
pub(crate) mod sentencepiece;
/// Output text: whole characters, and nothing of a stop string.
pub(crate) mod output;
/// Calls of functions in an output.
pub(crate) mod tools;
