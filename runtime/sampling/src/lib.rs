//! From logits to a token. The crate knows no network: rows of logits come in, token ids go out.
//!
//! A sequence's choices depend on its own options, seed, prompt and logits, and on nothing else
//! that runs beside it.

/// What a caller may ask for, and its bounds.
mod options;
/// Chooses one token after the other.
mod sampler;
/// How likely the chosen token and the best others were.
mod logprobs;
/// Outputs that follow a JSON schema, a regular expression or a grammar.
mod grammar;
/// Drafts of what may come, looked up in what is there.
mod lookup;

pub use grammar::{Constraint, Grammar, GrammarError, Vocabulary, with_little_space};
pub use logprobs::{Candidate, Logprobs, TOP_LOGPROBS_MAX};
pub use lookup::Lookup;
pub use options::{BIASES_MAX, Invalid, Sampling};
pub use sampler::Sampler;
