use emberbox_runtime::{BodyError, CallEnding, CallError, CallReport};

use crate::errors::ApiError;
use crate::logs::CallLog;

/// What the client is told when the guest gave no answer.
pub(super) fn no_answer(error: CallError) -> ApiError {
    match error {
        CallError::Trap(reason, _) => ApiError::GuestTrap { reason },
        CallError::NoResponse(_) => ApiError::GuestTrap { reason: "it gave no answer".to_owned() },
        CallError::Budget(_) => ApiError::CallBudget,
        CallError::Deadline(report) => deadline(&report),
        CallError::Overloaded => ApiError::Overloaded("all instances are taken".to_owned()),
        CallError::RequestInvalid(reason) => ApiError::Invalid { param: None, message: reason },
        CallError::Fault(ref reason, _) => {
            tracing::error!(reason, "the sandbox failed");
            ApiError::Internal
        }
    }
}

/// Says which limit it was.
fn deadline(report: &CallReport) -> ApiError {
    let detail = report.detail.as_deref().unwrap_or("its deadline passed");
    ApiError::Deadline(format!("the function was stopped because {detail}"))
}

/// The same for an answer that broke before any of it was sent.
pub(super) fn broken(error: &BodyError) -> ApiError {
    match error {
        BodyError::Stopped(CallEnding::Deadline) => {
            ApiError::Deadline("the function was stopped in the middle of its answer".to_owned())
        }
        BodyError::Stopped(CallEnding::Budget) => ApiError::CallBudget,
        BodyError::Stopped(CallEnding::Trap(reason)) => {
            ApiError::GuestTrap { reason: reason.clone() }
        }
        BodyError::Stopped(CallEnding::Fault(reason)) => {
            tracing::error!(reason, "the sandbox failed");
            ApiError::Internal
        }
        BodyError::Stopped(CallEnding::Normal | CallEnding::ClientLeft)
        | BodyError::Request(_)
        | BodyError::TooLarge { .. } => ApiError::GuestTrap { reason: error.to_string() },
    }
}

/// The function's author finds in its log why a call went wrong.
pub(super) fn tell_author(log: &CallLog, report: &CallReport) {
    let what = match &report.ending {
        CallEnding::Normal | CallEnding::ClientLeft => return,
        CallEnding::Deadline => "stopped: it took longer than it may".to_owned(),
        CallEnding::Budget => "stopped: the call's maximal cost was reached".to_owned(),
        CallEnding::Trap(reason) => format!("trapped: {reason}"),
        CallEnding::Fault(_) => "stopped: the platform failed".to_owned(),
    };
    match &report.detail {
        Some(detail) => log.platform(&format!("{what} ({detail})")),
        None => log.platform(&what),
    }
}
