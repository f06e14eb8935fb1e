use emberbox_runtime::{BodyError, CallEnding, CallError, CallReport};

use crate::call_limits::name_of;
use crate::errors::ApiError;
use crate::logs::CallLog;

/// What the client is told when the guest gave no answer.
pub(super) fn no_answer(error: CallError) -> ApiError {
    match error {
        CallError::Trap(reason, _) => trap(reason.into()),
        CallError::NoResponse(_) => trap("it gave no answer".to_owned()),
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
    stopped(format!("the function was stopped because {detail}"))
}

/// Which limit it was, the report says when it is there.
fn stopped(reason: String) -> ApiError {
    ApiError::Deadline { reason, limit: None }
}

fn trap(reason: String) -> ApiError {
    ApiError::GuestTrap { reason, limit: None }
}

/// The same for an answer that broke before any of it was sent.
pub(super) fn broken(error: &BodyError) -> ApiError {
    match error {
        BodyError::Stopped(CallEnding::Deadline) => {
            stopped("the function was stopped in the middle of its answer".to_owned())
        }
        BodyError::Stopped(CallEnding::Budget) => ApiError::CallBudget,
        BodyError::Stopped(CallEnding::Trap(reason)) => trap(reason.clone()),
        BodyError::Stopped(CallEnding::Fault(reason)) => {
            tracing::error!(reason, "the sandbox failed");
            ApiError::Internal
        }
        BodyError::Stopped(CallEnding::Normal | CallEnding::ClientLeft)
        | BodyError::Request(_)
        | BodyError::TooLarge { .. } => trap(error.to_string()),
    }
}

/// The function's author finds in its log why a call went wrong.
pub(super) fn tell_author(log: &CallLog, report: &CallReport) {
    let what = match &report.ending {
        CallEnding::Normal | CallEnding::ClientLeft if report.limit.is_none() => return,
        CallEnding::Normal | CallEnding::ClientLeft => "was refused something".to_owned(),
        CallEnding::Deadline => "stopped: it took longer than it may".to_owned(),
        CallEnding::Budget => "stopped: the call's maximal cost was reached".to_owned(),
        CallEnding::Trap(reason) => format!("trapped: {reason}"),
        CallEnding::Fault(_) => "stopped: the platform failed".to_owned(),
    };
    let detail = report.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
    let limit = report.limit.map(|limit| format!(" [limits.{}]", name_of(limit)));
    log.platform(&format!("{what}{detail}{}", limit.unwrap_or_default()));
}
