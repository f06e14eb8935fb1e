use serde::{Deserialize, Serialize};

/// How likely a token was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenLogprobs {
    /// The token that was chosen.
    pub chosen: Likelihood,
    /// The likeliest tokens, the likeliest first.
    pub top: Vec<Likelihood>,
}

/// A token, what it stands for, and the natural logarithm of its probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Likelihood {
    /// The token.
    pub token: u32,
    /// Its bytes: not always whole characters, and none for a control token.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}
