use emberbox_billing::{OrgId, PriceBook};
use emberbox_catalog::Principal;
use emberbox_runtime::bridge::{ModelInfo, ModelKind};
use http::Method;
use serde_json::{Value, json};

use crate::app::App;
use crate::errors::ApiError;
use crate::respond;
use crate::route::only;
use crate::stack::Response;

/// All models, with their prices.
pub(crate) async fn list(
    app: &App,
    principal: &Principal,
    method: &Method,
) -> Result<Response, ApiError> {
    only(method, &Method::GET, "GET")?;
    let (org, book) = (OrgId::new(&principal.org.id), app.billing.prices().await?);
    let models = app.models.list().await;
    let data: Vec<Value> =
        models.iter().map(|model| shown(app, &model.info, (&book, &org))).collect();
    respond::ok(&json!({ "object": "list", "data": data }))
}

/// One model.
pub(crate) async fn one(
    app: &App,
    principal: &Principal,
    (method, name): (&Method, &str),
) -> Result<Response, ApiError> {
    only(method, &Method::GET, "GET")?;
    let (org, book) = (OrgId::new(&principal.org.id), app.billing.prices().await?);
    let info = app.bridge.model(name).ok_or_else(|| ApiError::ModelNotFound(name.to_owned()))?;
    respond::ok(&shown(app, &info, (&book, &org)))
}

/// A model with the prices in force for an organisation.
fn shown(app: &App, info: &ModelInfo, (book, org): (&PriceBook, &OrgId)) -> Value {
    let rates = book.rates(org, &info.name);
    let input = if info.kind == ModelKind::Graph { "tensor" } else { "text" };
    let output: &[&str] = match info.kind {
        ModelKind::Generation => &["text", "embedding"],
        ModelKind::Embedding => &["embedding"],
        ModelKind::Classification | ModelKind::TokenClassification => &["class"],
        ModelKind::Reranking => &["score"],
        ModelKind::Graph => &["tensor"],
    };
    json!({
        "id": info.name,
        "object": "model",
        "created": app.started_at_s,
        "owned_by": "emberbox",
        "kind": info.kind,
        "architecture": info.architecture,
        "parameters": info.parameters,
        "quantisation": info.quantisation,
        "digest": info.digest,
        "context_length": info.context_length,
        "max_tokens_default": app.config.limits.output_tokens_default,
        "embedding_dims": info.embedding_dims,
        "input_modalities": [input],
        "output_modalities": output,
        "pricing": {
            "input_token": rates.input_token,
            "cached_input_token": rates.cached_input_token,
            "output_token": rates.output_token,
            "call": rates.call,
            "price_version": book.version,
        },
    })
}
