//! From text to tokens and back.

/// Chat templates.
pub(crate) mod chat;
/// Encoding and decoding.
pub(crate) mod codec;
/// The tokenizers that GGUF files describe.
pub(crate) mod gguf;
/// Output text: whole characters, and nothing of a stop string.
pub(crate) mod output;
/// Calls of functions in an output.
pub(crate) mod tools;
