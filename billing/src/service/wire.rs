//! What goes over the wire, in JSON: operations, the lines that answer them, and faults.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::capture::{CaptureRequest, Captured};
use crate::error::{BillingError, OpenFailure, Refusal, StoreError};
use crate::hold::{HoldEnd, HoldRequest};
use crate::ids::{CallId, OrgId, PriceVersion};
use crate::money::Nano;
use crate::order::{Order, Outcome};

/// Where operations are sent.
pub(super) const BATCH_PATH: &str = "/v1/batch";
/// Where questions are sent.
pub(super) const QUERY_PATH: &str = "/v1/query";
/// Where the prices in force are.
pub(super) const PRICES_PATH: &str = "/v1/prices";
/// Whether the service answers.
pub(super) const HEALTH_PATH: &str = "/healthz";

/// One operation of a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Operation {
    Hold(Box<HoldRequest>),
    Capture(CaptureRequest),
    Void(VoidRequest),
    Order(Box<Order>),
}

/// A hold to be given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VoidRequest {
    pub(super) org: OrgId,
    pub(super) call: CallId,
}

impl Operation {
    /// The call that it is about: operations on one call are done in the order of the batch.
    pub(super) fn call(&self) -> Option<(OrgId, CallId)> {
        match self {
            Operation::Hold(hold) => Some((hold.org.clone(), hold.call)),
            Operation::Capture(capture) => Some((capture.org.clone(), capture.call)),
            Operation::Void(void) => Some((void.org.clone(), void.call)),
            Operation::Order(_) => None,
        }
    }
}

/// A batch whose operations are all well formed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch {
    pub(super) operations: Vec<Operation>,
}

/// A batch with an operation in it that is not: each is read by itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LooseBatch {
    pub(super) operations: Vec<serde_json::Value>,
}

/// One line of the answer to a batch: news about the operation at `index`. A hold has `decided`
/// and later `durable`, everything else has `done`; `error` ends any of them. After `decided` it
/// means that the hold was not committed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) index: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) decided: Option<Decided>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) durable: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) done: Option<Done>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<Fault>,
}

/// A hold as it was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Decided {
    pub(super) call: CallId,
    pub(super) amount: Nano,
    pub(super) price_version: PriceVersion,
    pub(super) expires_at_ms: u64,
}

/// What was done, durably.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Done {
    Captured(Box<Captured>),
    Voided,
    Ordered(Box<Outcome>),
}

/// The body of an answer that is an error as a whole.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WholeError {
    pub(super) error: Fault,
}

/// A [`BillingError`] on its way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Fault {
    pub(super) code: Code,
    /// For people; where the variant carries a text, that text.
    pub(super) message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    refusal: Option<Refusal>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hold_end: Option<HoldEnd>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file: Option<FileFault>,
}

/// Which variant of [`BillingError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Code {
    Refused,
    Conflict,
    UnknownHold,
    HoldEnded,
    Overloaded,
    Invalid,
    Stopped,
    Store,
    Unreachable,
    CannotOpen,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct FileFault {
    at: String,
    cause: FileCause,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FileCause {
    Locked,
    NewerSchema { found: i64, known: i64 },
    NotALedger(String),
    Damaged(String),
    Io(String),
    Store(String),
}

/// What the store of the service said, which only its text crosses the wire of.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Elsewhere(String);

impl Fault {
    /// A fault that is only a code and a text.
    pub(super) fn new(code: Code, message: impl Into<String>) -> Fault {
        Fault { code, message: message.into(), refusal: None, hold_end: None, file: None }
    }
}

impl From<&BillingError> for Fault {
    fn from(error: &BillingError) -> Fault {
        match error {
            BillingError::Refused(refusal) => Fault {
                refusal: Some(refusal.clone()),
                ..Fault::new(Code::Refused, refusal.to_string())
            },
            BillingError::HoldEnded(end) => {
                Fault { hold_end: Some(*end), ..Fault::new(Code::HoldEnded, error.to_string()) }
            }
            BillingError::CannotOpen { at, cause } => Fault {
                file: Some(FileFault { at: at.clone(), cause: FileCause::from(cause) }),
                ..Fault::new(Code::CannotOpen, chain(error))
            },
            BillingError::Conflict => Fault::new(Code::Conflict, error.to_string()),
            BillingError::UnknownHold => Fault::new(Code::UnknownHold, error.to_string()),
            BillingError::Overloaded => Fault::new(Code::Overloaded, error.to_string()),
            BillingError::Invalid(text) => Fault::new(Code::Invalid, text),
            BillingError::Stopped(text) => Fault::new(Code::Stopped, text),
            BillingError::Unreachable(text) => Fault::new(Code::Unreachable, text),
            BillingError::Store(store) => Fault::new(Code::Store, chain(store)),
        }
    }
}

impl From<Fault> for BillingError {
    fn from(fault: Fault) -> BillingError {
        let Fault { code, message, refusal, hold_end, file } = fault;
        let unclear = |what: &str| BillingError::Unreachable(format!("its answer lacks {what}"));
        match code {
            Code::Refused => refusal.map_or_else(|| unclear("the refusal"), BillingError::Refused),
            Code::HoldEnded => hold_end.map_or_else(|| unclear("the end"), BillingError::HoldEnded),
            Code::CannotOpen => file.map_or_else(
                || unclear("the file"),
                |file| BillingError::CannotOpen { at: file.at, cause: file.cause.into() },
            ),
            Code::Conflict => BillingError::Conflict,
            Code::UnknownHold => BillingError::UnknownHold,
            Code::Overloaded => BillingError::Overloaded,
            Code::Invalid => BillingError::Invalid(message),
            Code::Stopped => BillingError::Stopped(message),
            Code::Unreachable => BillingError::Unreachable(message),
            Code::Store => BillingError::Store(StoreError::new(Elsewhere(message))),
        }
    }
}

impl From<&OpenFailure> for FileCause {
    fn from(cause: &OpenFailure) -> FileCause {
        match cause {
            OpenFailure::Locked => FileCause::Locked,
            OpenFailure::NewerSchema { found, known } => {
                FileCause::NewerSchema { found: *found, known: *known }
            }
            OpenFailure::NotALedger(text) => FileCause::NotALedger(text.clone()),
            OpenFailure::Damaged(text) => FileCause::Damaged(text.clone()),
            OpenFailure::Io(error) => FileCause::Io(error.to_string()),
            OpenFailure::Store(error) => FileCause::Store(chain(error)),
        }
    }
}

impl From<FileCause> for OpenFailure {
    fn from(cause: FileCause) -> OpenFailure {
        match cause {
            FileCause::Locked => OpenFailure::Locked,
            FileCause::NewerSchema { found, known } => OpenFailure::NewerSchema { found, known },
            FileCause::NotALedger(text) => OpenFailure::NotALedger(text),
            FileCause::Damaged(text) => OpenFailure::Damaged(text),
            FileCause::Io(text) => OpenFailure::Io(Arc::new(std::io::Error::other(text))),
            FileCause::Store(text) => OpenFailure::Store(StoreError::new(Elsewhere(text))),
        }
    }
}

/// An error and what caused it, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let told = cause.to_string();
        // Errors often repeat what is below them.
        if !text.ends_with(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
pub(super) mod tests;
