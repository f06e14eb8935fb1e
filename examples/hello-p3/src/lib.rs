//! A function for WASI 0.3: `wasi:http/handler`, whose answers are streams, and a model through
//! `wasi:nn`.
//!
//! `GET /` greets, `POST /` says back what it reads as it reads it, `GET /story` asks the
//! bundled model.

#[cfg(target_arch = "wasm32")]
mod serve;
