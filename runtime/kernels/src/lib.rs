//! The arithmetic of transformers on a CPU, on plain slices.
//!
//! Every operation has a scalar form, which is the definition, and forms for AVX2 and for AVX-512
//! with VNNI. A [`Level`] is the proof that the CPU has the instructions: only detection makes
//! one, so every function here is safe to call. Rows are `[tokens, width]`, row-major.
#![expect(unsafe_code, reason = "calls into instruction-set-specific code, and vector loads")]

/// Persistent threads that share a loop.
pub mod pool;
/// GGUF's block formats.
pub mod quant;
/// Linear layers with quantised weights.
pub mod linear;
/// Rotary embedding and causal attention over a paged KV cache.
pub mod attention;
/// Linear layers with f32 weights.
pub mod dense;
mod level;
mod shared;
mod simd;
/// Normalisation and activation.
pub mod pointwise;
/// Normalisation, activation and softmax, by rows over a pool.
pub mod rows;
/// Linear layers with GGUF's Q8_0 weights.
pub mod q8_0;

#[cfg(test)]
mod speed;

pub use level::Level;
