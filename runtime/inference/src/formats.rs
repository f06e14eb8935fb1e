//! Model files: GGUF, and Hugging Face folders. Every size is checked before memory is taken.

/// A file or bytes, read piece by piece.
pub(crate) mod blob;
/// GGUF versions 2 and 3.
pub(crate) mod gguf;
/// Hugging Face folders.
pub(crate) mod hf;
/// safetensors files.
pub(crate) mod safetensors;
/// Named tensors of either format.
pub(crate) mod weights;
