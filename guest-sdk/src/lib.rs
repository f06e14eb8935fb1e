//! What the author of an Emberbox function sees: a request comes in, models are at hand, a
//! response goes out.
//!
//! ```
//! use emberbox_sdk::{Error, Model, Request, Response};
//!
//! fn handle(request: Request) -> Result<Response, Error> {
//!     let topic = request.query("about").unwrap_or("a small boat");
//!     let pieces = Model::load("tiny-storyteller")?
//!         .generate(format!("Once upon a time there was {topic}"))
//!         .max_tokens(120)
//!         .stream();
//!     Ok(Response::stream(pieces)) // each piece reaches the caller as soon as it exists
//! }
//!
//! emberbox_sdk::main!(handle);
//! # fn main() {}
//! ```
//!
//! A function is a library crate (`crate-type = ["cdylib"]`) built with
//! `cargo build --release --target wasm32-wasip2`. Every request gets a fresh instance of it:
//! nothing in memory survives from one request to the next, and two callers never share one.
//!
//! Beside it lies `emberbox.toml`. A function reaches only the models that its `models` key names;
//! what it writes to standard output and standard error appears in `emberbox logs`.
//!
//! Everything but the models also runs natively, so a handler can be tested with `cargo test`:
//!
//! ```
//! # use emberbox_sdk::{Error, Request, Response};
//! fn handle(request: Request) -> Result<Response, Error> {
//!     Ok(Response::text(format!("Hello, {}!", request.query("name").unwrap_or("world"))))
//! }
//!
//! let response = handle(Request::get("/?name=Mia")).unwrap();
//! assert_eq!(response.into_bytes().unwrap(), b"Hello, Mia!");
//! ```

// In the order a request meets them.

// wasi:http in and out: reads the request, calls the handler, writes the response.
#[cfg(target_arch = "wasm32")]
mod serve;

// What a handler gets: method, path, query, headers, body.
mod request;

// Percent-decoding of paths and queries.
mod url;

// A model by its name: generation, chat, embeddings, raw contexts.
mod model;

// What is said to a model: text, chat messages, tokens.
mod message;

// A generation as an iterator over its pieces.
mod generate;

// A conversation that keeps its context.
mod chat;

// The arrays that go in and out of a model.
mod tensor;

/// Numbers with a shape.
mod view;

/// Pictures as tensors.
#[cfg(feature = "image")]
mod image;

// The seam to wasi:nn, and what its errors mean.
mod nn;

// What a handler returns: status, headers, a whole body or a stream of pieces.
mod response;

// What can go wrong, said so that one knows what to do.
mod error;

#[cfg(feature = "image")]
pub use crate::image::Picture;
pub use chat::{Chat, Turn};
pub use error::Error;
pub use generate::{Completion, FinishReason, Generate, Piece, Pieces, Usage};
pub use message::{Message, Prompt, Role};
pub use model::{Classes, Context, Model, Outputs};
pub use request::Request;
pub use response::{Chunk, Response};
pub use tensor::{Tensor, TensorType};
pub use view::View;

/// `serde_json`, under the name that a handler wants it by: `json::Value`, `json::to_string`, …
pub use serde_json as json;
/// Builds a [`json::Value`] from a literal that looks like JSON.
pub use serde_json::json;

/// The largest request body that [`main!`] accepts unless told otherwise: 4 MiB.
pub const BODY_BYTES_MAX: usize = 4 << 20;

/// A value of the manifest's `[environment]` table, or `None` if it is not set.
#[must_use]
pub fn environment(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok()
}

/// Makes `handle` the function's entry point: every HTTP request is given to it.
///
/// `handle` is any function `fn(Request) -> Result<Response, Error>`. A larger (or smaller) bound
/// on the request's body is given in bytes: `main!(handle, body_bytes_max = 16 << 20)`; a request
/// beyond it is answered 413 without calling `handle`. An [`Error`] becomes a JSON answer with the
/// status that [`Error::status`] names.
///
/// In a native build the macro expands to nothing.
#[macro_export]
macro_rules! main {
    ($handle:path) => {
        $crate::main!($handle, body_bytes_max = $crate::BODY_BYTES_MAX);
    };
    ($handle:path, body_bytes_max = $body_bytes_max:expr) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            use $crate::host::wasip2;
            struct Function;
            impl wasip2::exports::http::incoming_handler::Guest for Function {
                fn handle(
                    request: wasip2::http::types::IncomingRequest,
                    answer: wasip2::http::types::ResponseOutparam,
                ) {
                    $crate::host::serve(request, answer, $body_bytes_max, $handle);
                }
            }
    wasip2::http::proxy::export!(Function with_types_in wasip2);
        };
        // Natively nothing calls the handler but tests; this keeps it from looking unused.
        #[cfg(not(target_arch = "wasm32"))]
        const _: fn($crate::Request) -> Result<$crate::Response, $crate::Error> = $handle;
    };
}

/// The raw host interface, for the rare function that needs more than the SDK offers.
#[cfg(target_arch = "wasm32")]
pub mod host {
    pub use crate::serve::serve;
    pub use wasip2;
}
