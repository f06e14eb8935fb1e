use crate::nn::bindings::wasi::nn::errors::ErrorCode;
use crate::nn::error::GuestError;

/// What a guest is told: `nn_errno` of the witx description, and from 100 on `WasmEdge`'s own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Errno {
    Success = 0,
    InvalidArgument = 1,
    InvalidEncoding = 2,
    MissingMemory = 3,
    Busy = 4,
    RuntimeError = 5,
    UnsupportedOperation = 6,
    TooLarge = 7,
    NotFound = 8,
    EndOfSequence = 100,
    PromptTooLong = 102,
    ModelNotFound = 103,
}

/// A refusal: its number for the guest, its words for the log.
pub(super) struct Refused(pub(super) Errno, pub(super) String);

impl Refused {
    pub(super) fn new(errno: Errno, why: impl Into<String>) -> Self {
        Self(errno, why.into())
    }

    pub(super) fn handle(what: &str, handle: u32) -> Self {
        Self::new(Errno::InvalidArgument, format!("there is no {what} {handle}"))
    }
}

impl From<GuestError> for Refused {
    fn from(error: GuestError) -> Self {
        let errno = match error.code {
            ErrorCode::InvalidArgument if error.is_context_length() => Errno::PromptTooLong,
            ErrorCode::InvalidArgument => Errno::InvalidArgument,
            ErrorCode::InvalidEncoding => Errno::InvalidEncoding,
            ErrorCode::UnsupportedOperation => Errno::UnsupportedOperation,
            ErrorCode::TooLarge => Errno::TooLarge,
            ErrorCode::NotFound => Errno::NotFound,
            ErrorCode::Timeout
            | ErrorCode::RuntimeError
            | ErrorCode::Security
            | ErrorCode::Unknown => Errno::RuntimeError,
        };
        Self(errno, error.data)
    }
}
