//! The arithmetic of transformers on a CPU, on plain slices.
//!
//! Every operation has a scalar form, which is the definition, and forms for AVX2 and for AVX-512
//! with VNNI. A [`Level`] is the proof that the CPU has the instructions: only detection makes
//! one, so every function here is safe to call. Rows are `[tokens, width]`, row-major.
#![expect(unsafe_code, reason = "calls into instruction-set-specific code, and vector loads")]

/// Memory for what is read over and over.
pub mod memory;
/// Persistent threads that share a loop.
pub mod pool;
/// GGUF's block formats.
pub mod quant;
/// Linear layers with quantised weights.
pub mod linear;
/// Rotary embedding and causal attention over a paged KV cache.
pub mod attention;
/// Attention within whole texts: encoders.
pub mod full;
/// Linear layers with weights in f32, f16 or bf16, and products of matrices.
pub mod dense;
/// Linear layers whose weights are rounded to 8 bits.
pub mod int8;
/// Arithmetic and functions, value by value.
pub mod map;
/// Windows over each channel of an image: depthwise convolution, pooling.
pub mod slide;
/// Images laid out for windows.
pub mod planes;
mod level;
mod shared;
mod simd;
/// Normalisation, activation and softmax, by rows over a pool.
pub mod rows;

#[cfg(test)]
mod speed;
#[cfg(test)]
mod testing;

pub use level::Level;
