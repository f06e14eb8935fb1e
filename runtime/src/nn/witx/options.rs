//! Options as `WasmEdge`'s ggml plugin names them, in JSON with hyphens. What is not given is as
//! llama.cpp has it.

use serde_json::{Map, Value};

use super::{Errno, Refused};
use crate::bridge::GenerateOptions;

/// What a context's computations start from.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Options {
    pub(super) generate: GenerateOptions,
    /// A vector is wanted, not a text.
    pub(super) embedding: bool,
}

impl Default for Options {
    fn default() -> Self {
        let generate = GenerateOptions {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            ..GenerateOptions::default()
        };
        Self { generate, embedding: false }
    }
}

impl Options {
    /// Takes over what is given. Options of `WasmEdge` that are about its host's own affairs, such
    /// as `ctx-size`, `n-gpu-layers` and `enable-log`, have no effect here; nor has what it does
    /// not know either.
    pub(super) fn merge(&mut self, json: &str) -> Result<(), Refused> {
        let fields: Map<String, Value> = serde_json::from_str(json).map_err(|error| {
            let why = format!("options must be a JSON object: {error}");
            Refused::new(Errno::InvalidEncoding, why)
        })?;
        for (name, value) in &fields {
            if self.set(name, value).is_none() {
                let why = format!("option `{name}` is of the wrong type, or out of range");
                return Err(Refused::new(Errno::InvalidArgument, why));
            }
        }
        Ok(())
    }

    /// `None` when the value is of another type than it should be, or out of range.
    fn set(&mut self, name: &str, value: &Value) -> Option<()> {
        let to = &mut self.generate;
        match name {
            // Below zero is without a bound.
            "n-predict" => to.max_tokens = u32::try_from(value.as_i64()?).ok(),
            "seed" => to.seed = u64::try_from(value.as_i64()?).ok(),
            "temp" => to.temperature = number(value)?,
            "top-p" => to.top_p = number(value)?,
            "min-p" => to.min_p = number(value)?,
            "top-k" => to.top_k = u32::try_from(value.as_i64()?.max(0)).ok()?,
            "repeat-penalty" => to.repetition_penalty = number(value)?,
            "presence-penalty" => to.presence_penalty = number(value)?,
            "frequency-penalty" => to.frequency_penalty = number(value)?,
            "reverse-prompt" => {
                let stop = value.as_str()?;
                to.stop = if stop.is_empty() { Vec::new() } else { vec![stop.to_owned()] };
            }
            "embedding" => self.embedding = value.as_bool()?,
            _ => {}
        }
        Some(())
    }
}

#[expect(clippy::cast_possible_truncation, reason = "options have few digits")]
fn number(value: &Value) -> Option<f32> {
    value.as_f64().map(|number| number as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(json: &str) -> Options {
        let mut options = Options::default();
        let outcome = options.merge(json);
        assert!(outcome.is_ok(), "{json}: {:?}", outcome.err().map(|refused| refused.1));
        options
    }

    #[test]
    fn wasmedges_names_are_known() {
        let all = merged(
            r#"{"n-predict": 9, "temp": 0.5, "top-p": 0.75, "top-k": 3, "min-p": 0.25, "seed": 7,
                "repeat-penalty": 1.5, "presence-penalty": -1, "frequency-penalty": 1,
                "reverse-prompt": "User:", "embedding": true, "ctx-size": 512,
                "n-gpu-layers": 100, "enable-log": true, "stream-stdout": true}"#,
        );
        let generate = GenerateOptions {
            max_tokens: Some(9),
            temperature: 0.5,
            top_p: 0.75,
            top_k: 3,
            min_p: 0.25,
            seed: Some(7),
            repetition_penalty: 1.5,
            presence_penalty: -1.0,
            frequency_penalty: 1.0,
            stop: vec!["User:".to_owned()],
            ..GenerateOptions::default()
        };
        assert_eq!(all, Options { generate, embedding: true });
        let unbounded = merged(r#"{"n-predict": -1, "seed": -1, "reverse-prompt": ""}"#);
        assert_eq!(unbounded, Options::default());
    }

    #[test]
    fn later_options_go_over_earlier_ones() {
        let mut options = merged(r#"{"n-predict": 9, "temp": 0.5}"#);
        assert!(options.merge(r#"{"n-predict": 3}"#).is_ok());
        assert_eq!((options.generate.max_tokens, options.generate.temperature), (Some(3), 0.5));
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (json, errno, words) in [
            ("{", Errno::InvalidEncoding, "options must be a JSON object"),
            ("[]", Errno::InvalidEncoding, "options must be a JSON object"),
            (r#"{"temp": "hot"}"#, Errno::InvalidArgument, "option `temp` is of the wrong type"),
            (
                r#"{"n-predict": 1.5}"#,
                Errno::InvalidArgument,
                "option `n-predict` is of the wrong type",
            ),
            (
                r#"{"embedding": 1}"#,
                Errno::InvalidArgument,
                "option `embedding` is of the wrong type",
            ),
        ] {
            let refused = Options::default().merge(json);
            let Err(Refused(found, why)) = refused else { panic!("{json} was taken") };
            assert_eq!(found, errno, "{json}");
            assert!(why.contains(words), "{why}");
        }
    }
}
