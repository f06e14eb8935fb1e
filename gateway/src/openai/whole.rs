use std::sync::Arc;

use emberbox_billing::Nano;
use emberbox_catalog::Principal;
use emberbox_runtime::bridge::{Answer, Task};
use serde_json::{Value, json};

use super::{arrived, cost_details};
use crate::app::App;
use crate::errors::ApiError;
use crate::invoke::Caller;
use crate::invoke::model::{self, Finished, ModelCall, Step};

/// Runs a task, and waits for its answer and its charge.
pub(super) async fn call(
    app: &Arc<App>,
    (principal, head): (Arc<Principal>, &http::request::Parts),
    max_cost: Option<Nano>,
    (operation, model): (&'static str, &str),
    task: Task,
) -> Result<(Answer, Box<Finished>), ApiError> {
    let caller = Caller::new(principal, arrived(&head.extensions)?, &head.headers)?;
    let call = ModelCall {
        caller: caller.limited(max_cost),
        operation,
        choices: 1,
        model: model.to_owned(),
        task,
        streams: false,
    };
    let mut run = model::start(app, call).await?;
    let mut answer = None;
    while let Some(step) = run.next().await {
        match step? {
            Step::Answer(found) => answer = Some(found),
            Step::Done(finished) => {
                return answer.map(|answer| (answer, finished)).ok_or(ApiError::Internal);
            }
            Step::Started | Step::Piece { .. } | Step::ToolCalls { .. } => {}
        }
    }
    Err(ApiError::Internal)
}

/// What a call has used, as all answers show it.
pub(super) fn usage(finished: &Finished) -> Value {
    let receipt = &finished.charged.receipt;
    json!({
        "prompt_tokens": finished.usage.input_tokens,
        "total_tokens": finished.usage.input_tokens,
        "cost": receipt.amount,
        "cost_details": cost_details(receipt),
    })
}
