//! What functions for WASI 0.3 should not do, one misdeed for each path.

#[cfg(target_arch = "wasm32")]
mod serve;
