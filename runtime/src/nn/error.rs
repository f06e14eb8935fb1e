use crate::bridge::BridgeError;

use super::bindings::wasi::nn::errors::ErrorCode;

/// Names in messages are the guest's own and may be long.
const NAME_CHARS_MAX: usize = 64;
/// Bytes of an error's text. It may repeat what the guest sent, and nothing counts it.
const TEXT_BYTES_MAX: usize = 1024;

/// The stable word of one error.
const CONTEXT_LENGTH: &str = "context_length_exceeded";

/// An error as the guest reads it: its code, and data that starts with a stable word and a colon.
#[expect(unreachable_pub, reason = "the generated bindings export it")]
#[derive(Clone, Debug)]
pub struct GuestError {
    pub(super) code: ErrorCode,
    pub(super) data: String,
}

impl GuestError {
    fn new(code: ErrorCode, word: &str, prose: &str) -> Self {
        let prose = &prose[..prose.floor_char_boundary(TEXT_BYTES_MAX)];
        Self { code, data: format!("{word}: {prose}") }
    }

    /// What a guest says itself, cut short.
    pub(super) fn made_by_guest(code: ErrorCode, data: &str) -> Self {
        Self { code, data: data[..data.floor_char_boundary(TEXT_BYTES_MAX)].to_owned() }
    }

    pub(super) fn not_granted(model: &str) -> Self {
        let prose = format!("the model `{}` is not granted to this function", short(model));
        Self::new(ErrorCode::Security, "model_not_granted", &prose)
    }

    pub(super) fn not_found(model: &str) -> Self {
        let prose = format!("there is no model `{}`", short(model));
        Self::new(ErrorCode::NotFound, "model_not_found", &prose)
    }

    pub(super) fn budget(model: &str, input_tokens: u32, output_tokens: u32) -> Self {
        let prose = format!(
            "what this call may spend does not cover {input_tokens} tokens of input and up to \
             {output_tokens} of output on `{model}`"
        );
        Self::new(ErrorCode::Security, "budget_exhausted", &prose)
    }

    pub(super) fn invalid(prose: &str) -> Self {
        Self::new(ErrorCode::InvalidArgument, "invalid_argument", prose)
    }

    pub(super) fn wrong_shape(prose: &str) -> Self {
        Self::new(ErrorCode::InvalidArgument, "wrong_shape", prose)
    }

    pub(super) fn too_large(prose: &str) -> Self {
        Self::new(ErrorCode::TooLarge, "too_large", prose)
    }

    pub(super) fn no_output(name: &str, known: &[&str]) -> Self {
        let known = if known.is_empty() { "none yet".to_owned() } else { known.join(", ") };
        let prose = format!("there is no output `{}`; there are: {known}", short(name));
        Self::new(ErrorCode::NotFound, "output_not_found", &prose)
    }

    /// Whether prompt and output were too long for the model.
    pub(super) fn is_context_length(&self) -> bool {
        self.data.starts_with(CONTEXT_LENGTH)
    }

    pub(super) fn load_not_granted() -> Self {
        let prose = "this function may not load models from its memory; that takes \
                     load_models = true in its manifest, and an operator who allows it";
        Self::new(ErrorCode::Security, "load_not_granted", prose)
    }

    pub(super) fn overloaded(prose: &str) -> Self {
        Self::new(ErrorCode::RuntimeError, "overloaded", prose)
    }

    pub(super) fn unsupported(prose: &str) -> Self {
        Self::new(ErrorCode::UnsupportedOperation, "unsupported", prose)
    }
}

impl From<BridgeError> for GuestError {
    fn from(error: BridgeError) -> Self {
        let (code, word) = match &error {
            BridgeError::ModelNotFound(_) => (ErrorCode::NotFound, "model_not_found"),
            BridgeError::InvalidRequest { .. } => (ErrorCode::InvalidArgument, "invalid_argument"),
            BridgeError::ContextLength { .. } => (ErrorCode::InvalidArgument, CONTEXT_LENGTH),
            BridgeError::WrongKind(_) => (ErrorCode::UnsupportedOperation, "unsupported"),
            BridgeError::Overloaded(_) => (ErrorCode::RuntimeError, "overloaded"),
            BridgeError::Cancelled => (ErrorCode::RuntimeError, "cancelled"),
            BridgeError::BadModel(_) => (ErrorCode::InvalidEncoding, "bad_model"),
            BridgeError::Failed => (ErrorCode::RuntimeError, "fault"),
        };
        Self::new(code, word, &error.to_string())
    }
}

/// The start of a guest's name for something.
pub(super) fn short(name: &str) -> String {
    match name.char_indices().nth(NAME_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_owned(),
    }
}
