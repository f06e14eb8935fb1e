//! The seam to wasi:nn, and what its errors mean.
//!
//! In a component [`load`] calls the host; natively there is no host, and it says so. Above this
//! seam nothing knows which of the two it is.

use crate::{Error, Tensor};
#[cfg(not(target_arch = "wasm32"))]
use std::rc::Rc;

#[cfg(target_arch = "wasm32")]
mod host;
#[cfg(target_arch = "wasm32")]
pub(crate) use host::{load, load_bytes};

/// Tensors with their names.
pub(crate) type Named = Vec<(String, Tensor)>;

/// A loaded model.
pub(crate) trait Graph {
    /// Opens a sequence of its own on the model.
    fn context(&self) -> Result<Box<dyn Compute>, Error>;
}

/// One sequence on a model.
pub(crate) trait Compute {
    /// Runs the model on the inputs; without inputs, goes on with what is under way.
    fn compute(&mut self, inputs: Named) -> Result<Named, Error>;
}

/// The model of this name: natively there is none.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn load(_name: &str) -> Result<Rc<dyn Graph>, Error> {
    Err(Error::OutsideEmberbox)
}

/// The model of these bytes: natively there is none.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn load_bytes(_model: Vec<u8>) -> Result<Rc<dyn Graph>, Error> {
    Err(Error::OutsideEmberbox)
}

/// What an error of the host means. `data` begins with a stable word and a colon, then prose;
/// where the word is missing or new, the code (in wasi:nn's spelling) decides.
#[cfg(any(target_arch = "wasm32", test))]
pub(crate) fn error(code: &str, data: &str, model: &str) -> Error {
    let (word, prose) = data.split_once(": ").unwrap_or((data, data));
    let why = prose.to_owned();
    let model = model.to_owned();
    match (word, code) {
        ("model_not_granted", _) => Error::ModelNotGranted { model },
        ("load_not_granted", _) => Error::new(403, "load_not_allowed", why),
        ("model_not_found", _) => Error::ModelNotFound { model },
        ("budget_exhausted", _) => Error::BudgetExhausted(why),
        ("context_length_exceeded", _) => Error::ContextLength(why),
        ("invalid_argument" | "wrong_shape" | "unsupported" | "bad_model", _) => {
            Error::Invalid(why)
        }
        ("too_large", _) => Error::TooLarge(why),
        ("overloaded", _) => Error::Overloaded(why),
        ("deadline_exceeded", _) => Error::Deadline(why),
        (_, "not-found") => Error::ModelNotFound { model },
        (_, "security") => Error::ModelNotGranted { model },
        (_, "invalid-argument" | "invalid-encoding" | "unsupported-operation") => {
            Error::Invalid(data.to_owned())
        }
        (_, "too-large") => Error::TooLarge(data.to_owned()),
        (_, "timeout") => Error::Deadline(data.to_owned()),
        _ => Error::Model(data.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_decides_and_else_the_code() {
        let model = || "m".to_owned();
        for (code, data, expect) in [
            ("security", "model_not_granted: m", Error::ModelNotGranted { model: model() }),
            ("not-found", "model_not_found: m", Error::ModelNotFound { model: model() }),
            ("security", "budget_exhausted: 3 left", Error::BudgetExhausted("3 left".into())),
            ("invalid-argument", "wrong_shape: [2]", Error::Invalid("[2]".into())),
            ("invalid-encoding", "bad_model: cut short", Error::Invalid("cut short".into())),
            ("security", "load_not_granted: no", Error::new(403, "load_not_allowed", "no")),
            ("invalid-argument", "context_length_exceeded: 9", Error::ContextLength("9".into())),
            ("runtime-error", "overloaded: queue", Error::Overloaded("queue".into())),
            ("timeout", "deadline_exceeded: 1 s", Error::Deadline("1 s".into())),
            ("not-found", "no such thing", Error::ModelNotFound { model: model() }),
            ("security", "no", Error::ModelNotGranted { model: model() }),
            ("too-large", "no: way", Error::TooLarge("no: way".into())),
            ("timeout", "late", Error::Deadline("late".into())),
            ("runtime-error", "", Error::Model(String::new())),
        ] {
            assert_eq!(error(code, data, "m"), expect, "{code} {data}");
        }
    }

    #[test]
    fn there_are_no_models_outside() {
        assert_eq!(load("tiny").err(), Some(Error::OutsideEmberbox));
        assert_eq!(load_bytes(Vec::new()).err(), Some(Error::OutsideEmberbox));
    }
}
