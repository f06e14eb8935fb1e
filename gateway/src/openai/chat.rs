use std::sync::Arc;
use std::time::Duration;

use emberbox_catalog::Principal;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method};

use super::{arrival, now_s};
use crate::app::App;
use crate::body;
use crate::errors::ApiError;
use crate::invoke::Caller;
use crate::invoke::model::{self, ModelCall, Run, Step};
use crate::json::{self, Object};
use crate::respond;
use crate::route::only;
use crate::stack::{Request, Response};
use reply::{Answer, Shape};

/// JSON of answers and chunks.
mod reply;
/// Reading the request.
pub(crate) mod request;
/// Server-sent events.
mod stream;

/// How long a stream may be silent. Proxies close what is silent for longer.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Answers a chat completion, streaming or not.
pub(crate) async fn post(
    app: &Arc<App>,
    principal: Arc<Principal>,
    request: Request,
) -> Result<Response, ApiError> {
    only(request.method(), &Method::POST, "POST")?;
    let caller = Caller::new(principal, arrival(&request)?, request.headers())?;
    let body = json::parse(&body::read(request.into_body()).await?)?;
    let asked = request::parse(&Object::of(&body)?)?;
    let shape = Shape {
        id: format!("chatcmpl-{}", caller.arrival.request_id),
        model: asked.model.clone(),
        created: now_s(),
        include_usage: asked.include_usage,
        logprobs: asked.logprobs,
        choices: asked.choices,
    };
    let call = ModelCall {
        caller: caller.limited(asked.max_cost),
        operation: "chat",
        model: asked.model,
        task: asked.task,
        choices: asked.choices,
        streams: asked.stream,
    };
    let run = model::start(app, call).await?;
    match asked.stream {
        true => stream(run, shape).await,
        false => whole(run, &shape).await,
    }
}

/// Collects the answer; its head leaves after the charge and tells the cost.
async fn whole(mut run: Run, shape: &Shape) -> Result<Response, ApiError> {
    let mut answers: Vec<Answer> = (0..shape.choices).map(|_| Answer::default()).collect();
    while let Some(step) = run.next().await {
        match step? {
            Step::Piece { choice, text, logprobs, .. } => {
                let answer = answers.get_mut(choice as usize).ok_or(ApiError::Internal)?;
                answer.text.push_str(&text);
                answer.logprobs.extend(logprobs);
            }
            Step::ToolCalls { choice, calls } => {
                let answer = answers.get_mut(choice as usize).ok_or(ApiError::Internal)?;
                answer.calls = calls;
            }
            Step::Done(finished) => {
                let mut response = respond::ok(&shape.completion(&answers, &finished))?;
                finished.charged.write(response.headers_mut());
                return Ok(response);
            }
            Step::Started | Step::Answer(_) => {}
        }
    }
    Err(ApiError::Internal)
}

/// Passes the pieces on as they come. What fails before the first of them is still answered with
/// its own status.
async fn stream(mut run: Run, shape: Shape) -> Result<Response, ApiError> {
    let first = match tokio::time::timeout(KEEP_ALIVE, run.next()).await {
        Ok(Some(step)) => Some(step?),
        Ok(None) => return Err(ApiError::Internal),
        Err(_) => None,
    };
    let mut response = Response::new(stream::body(run, shape, first));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}
