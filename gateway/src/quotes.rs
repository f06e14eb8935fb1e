//! `POST /v1/quote`: what a call would cost at most, without making it.

use emberbox_billing::OrgId;
use emberbox_catalog::Principal;
use emberbox_runtime::bridge::Task;
use http::Method;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::deployments;
use crate::errors::ApiError;
use crate::invoke::quote::{self, Asked, Prepared, Quote};
use crate::json::{self, Object};
use crate::openai::{chat, embeddings};
use crate::respond;
use crate::route::only;
use crate::stack::{Request, Response};
use crate::{body, invoke};

/// Answers with the worst case of a call: the body is that of a chat completion, that of an
/// embedding, or `{"function": "owner/name"}`. Nothing is held and nothing runs.
pub(crate) async fn post(
    app: &App,
    principal: &Principal,
    request: Request,
) -> Result<Response, ApiError> {
    only(request.method(), &Method::POST, "POST")?;
    let in_head = invoke::max_cost_header(request.headers())?;
    let value = json::parse(&body::read(request.into_body()).await?)?;
    let fields = Object::of(&value)?;
    let org = OrgId::new(&principal.org.id);
    let max_cost = in_head.into_iter().chain(fields.max_cost()?).min();
    let shown = match fields.text("function")? {
        Some(function) => of_function(app, &org, (&fields, function), max_cost).await?,
        None => {
            let (model, task, choices) = task(&fields)?;
            let asked = Asked { model: &model, task, choices, max_cost };
            let prepared = quote::model(app, &org, asked).await?;
            of_model(&org, &model, &prepared)
        }
    };
    respond::ok(&shown)
}

/// What would be asked of a model, and how many answers.
fn task(fields: &Object<'_>) -> Result<(String, Task, u32), ApiError> {
    match (fields.get("messages"), fields.get("input")) {
        (Some(_), _) => {
            let asked = chat::request::parse(fields)?;
            Ok((asked.model, asked.task, asked.choices))
        }
        (None, Some(_)) => {
            let asked = embeddings::parse(fields)?;
            Ok((asked.model, Task::Embed { texts: asked.texts }, 1))
        }
        (None, None) => {
            let reason = "send the body of a chat completion or an embedding, or name a function";
            Err(ApiError::invalid("there is nothing to quote", &reason))
        }
    }
}

fn of_model(org: &OrgId, model: &str, prepared: &Prepared) -> Value {
    let Prepared { plan, quote, .. } = prepared;
    let mut shown = of(quote);
    shown.extend([
        ("prompt_tokens".to_owned(), json!(plan.input_tokens)),
        ("output_tokens_max".to_owned(), json!(plan.output_tokens_max)),
        ("rates".to_owned(), json!(quote.book.rates(org, model))),
    ]);
    Value::Object(shown)
}

async fn of_function(
    app: &App,
    org: &OrgId,
    (fields, function): (&Object<'_>, &str),
    max_cost: Option<emberbox_billing::Nano>,
) -> Result<Value, ApiError> {
    let (owner, name) =
        function.split_once('/').ok_or_else(|| fields.wrong("function", "must be owner/name"))?;
    let live = deployments::live(app, owner, name).await?;
    let quote = quote::function(app, org, &live, max_cost).await?;
    let models = live.function.grants().models.iter();
    let models: Map<String, Value> =
        models.map(|model| (model.clone(), json!(quote.book.rates(org, model)))).collect();
    let mut shown = of(&quote);
    shown.extend([
        ("rates".to_owned(), json!(quote.book.function_rates(org))),
        ("models".to_owned(), Value::Object(models)),
        ("author".to_owned(), json!(quote.author)),
        ("egress".to_owned(), json!(live.outbound_hosts.texts())),
    ]);
    Ok(Value::Object(shown))
}

/// What all quotes have.
fn of(quote: &Quote) -> Map<String, Value> {
    [
        ("object", json!("quote")),
        ("subject", json!(quote.subject)),
        ("worst_case", json!(quote.amount)),
        ("price_version", json!(quote.book.version)),
        ("lines", json!(quote.lines)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
