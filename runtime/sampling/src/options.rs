use serde::{Deserialize, Serialize};

/// Most tokens that may have a bias.
pub const BIASES_MAX: usize = 1_024;
const TEMPERATURE_MAX: f32 = 2.0;
/// Largest absolute value of a penalty by presence or frequency.
const PENALTY_MAX: f32 = 2.0;
const REPETITION_MAX: f32 = 10.0;
/// Largest absolute value of a bias; it settles a choice.
const BIAS_MAX: f32 = 100.0;

/// How to choose tokens.
///
/// Each step in this order: penalties and biases change the logits, a grammar forbids tokens, the
/// temperature divides, then `top_k`, `top_p` and `min_p` cut the tail, and one of the rest is
/// drawn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// 0 takes the likeliest token; otherwise up to 2.
    pub temperature: f32,
    /// Keeps this many of the likeliest tokens; 0 is off. Source: Fan et al. 2018.
    pub top_k: u32,
    /// Keeps the likeliest tokens whose probabilities sum to this; above 0, up to 1, which is
    /// off. Source: Holtzman et al. 2020.
    pub top_p: f32,
    /// Keeps tokens at least this many times as likely as the likeliest; 0, which is off, to 1.
    /// Source: Nguyen et al. 2024.
    pub min_p: f32,
    /// Divides the logits above zero of tokens that the prompt or the output has, and multiplies
    /// those below; above 0, up to 10, and 1 is off. Source: Keskar et al. 2019 (CTRL).
    pub repetition_penalty: f32,
    /// Taken from the logits of tokens that the output has; -2 to 2. As in OpenAI's API.
    pub presence_penalty: f32,
    /// Taken from a token's logit for each time that the output has it; -2 to 2. As in OpenAI's
    /// API.
    pub frequency_penalty: f32,
    /// Added to a token's logit; -100 to 100. Each token at most once.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            logit_bias: Vec::new(),
        }
    }
}

/// A number out of its bounds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {reason}")]
pub struct Invalid {
    /// The option's name.
    pub field: &'static str,
    /// What it must be.
    pub reason: String,
}

impl Sampling {
    /// Checks every number, for a model with `vocabulary` tokens.
    ///
    /// # Errors
    /// The first field that is out of its bounds.
    pub fn check(&self, vocabulary: usize) -> Result<(), Invalid> {
        let penalty = -PENALTY_MAX..=PENALTY_MAX;
        within("temperature", (0.0..=TEMPERATURE_MAX).contains(&self.temperature), || {
            format!("must be from 0 to {TEMPERATURE_MAX}")
        })?;
        within("top_p", self.top_p > 0.0 && self.top_p <= 1.0, || {
            "must be above 0 and at most 1".to_owned()
        })?;
        within("min_p", (0.0..=1.0).contains(&self.min_p), || "must be from 0 to 1".to_owned())?;
        let repetition = self.repetition_penalty;
        within("repetition_penalty", repetition > 0.0 && repetition <= REPETITION_MAX, || {
            format!("must be above 0 and at most {REPETITION_MAX}")
        })?;
        for (field, value) in [
            ("presence_penalty", self.presence_penalty),
            ("frequency_penalty", self.frequency_penalty),
        ] {
            within(field, penalty.contains(&value), || {
                format!("must be from -{PENALTY_MAX} to {PENALTY_MAX}")
            })?;
        }
        self.check_biases(vocabulary)
    }

    fn check_biases(&self, vocabulary: usize) -> Result<(), Invalid> {
        const FIELD: &str = "logit_bias";
        within(FIELD, self.logit_bias.len() <= BIASES_MAX, || {
            format!("has {} tokens; at most {BIASES_MAX} are allowed", self.logit_bias.len())
        })?;
        let mut seen: Vec<u32> = self.logit_bias.iter().map(|(token, _)| *token).collect();
        seen.sort_unstable();
        within(FIELD, seen.windows(2).all(|pair| pair[0] != pair[1]), || {
            "names a token twice".to_owned()
        })?;
        for (token, bias) in &self.logit_bias {
            within(FIELD, (*token as usize) < vocabulary, || {
                format!("token {token} is outside the vocabulary of {vocabulary}")
            })?;
            within(FIELD, (-BIAS_MAX..=BIAS_MAX).contains(bias), || {
                format!("{bias} for token {token} must be from -{BIAS_MAX} to {BIAS_MAX}")
            })?;
        }
        Ok(())
    }

    /// Whether the logits are taken as they are.
    pub(crate) fn leaves_logits(&self) -> bool {
        #[expect(clippy::float_cmp, reason = "these are the values that mean off")]
        let off = self.repetition_penalty == 1.0
            && self.presence_penalty == 0.0
            && self.frequency_penalty == 0.0;
        off && self.logit_bias.is_empty()
    }
}

fn within(field: &'static str, is: bool, reason: impl FnOnce() -> String) -> Result<(), Invalid> {
    if is { Ok(()) } else { Err(Invalid { field, reason: reason() }) }
}
