//! The root of the fuzz target's crate, not a module of this one: what reads a manifest, without the
//! rest of the gateway.
#![expect(dead_code, reason = "what a server does with a manifest is left out")]

mod call_limits;
mod egress {
    pub(crate) mod rules;
}
mod config {
    pub use crate::egress::rules::Rules;
}
/// What a function's author declares.
pub mod manifest;
