//! The operator's listener: organisations, credits, prices, models, the ledger's check, metrics.

use std::path::PathBuf;
use std::sync::Arc;

use emberbox_billing::{Nano, NewPriceBook, OpId, OrgId};
use emberbox_catalog::{Name, NewModel};
use emberbox_inference::{InferenceError, ModelSource};
use emberbox_runtime::bridge::ModelInfo;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

use crate::app::App;
use crate::body::{self, Body};
use crate::bootstrap;
use crate::errors::ApiError;
use crate::health;
use crate::json::{self, Object};
use crate::respond;
use crate::stack::{Request, Response};

/// The innermost service of the operator's stack.
pub(crate) async fn handle(app: Arc<App>, request: Request) -> Response {
    let answer = match request.uri().path() {
        "/healthz" => Ok(health::live()),
        "/readyz" => Ok(health::ready(&app).await),
        "/metrics" => metrics(&app),
        _ => match app.operator.check(request.headers()) {
            Ok(()) => route(&app, request).await,
            Err(error) => Err(error),
        },
    };
    answer.unwrap_or_else(Response::from)
}

async fn route(app: &App, request: Request) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let Some(rest) = path.strip_prefix("/admin/v1/") else {
        return Err(crate::route::no_such_path(path));
    };
    match (rest, &parts.method) {
        ("orgs", &Method::GET) => list_orgs(app).await,
        ("orgs", &Method::POST) => create_org(app, body).await,
        ("credits", &Method::POST) => top_up(app, body).await,
        ("prices", &Method::GET) => respond::ok(&*app.billing.prices().await),
        ("prices", &Method::PUT) => set_prices(app, body).await,
        ("models", &Method::GET) => list_models(app),
        ("models", &Method::POST) => add_model(app, body).await,
        ("ledger/check", &Method::GET) => respond::ok(&app.billing.check().await?),
        ("orgs" | "models", _) => Err(ApiError::MethodNotAllowed { allowed: "GET, POST" }),
        ("credits", _) => Err(ApiError::MethodNotAllowed { allowed: "POST" }),
        ("prices", _) => Err(ApiError::MethodNotAllowed { allowed: "GET, PUT" }),
        ("ledger/check", _) => Err(ApiError::MethodNotAllowed { allowed: "GET" }),
        (other, method) => match other.strip_prefix("models/") {
            Some(name) if *method == Method::DELETE => remove_model(app, name).await,
            Some(_) => Err(ApiError::MethodNotAllowed { allowed: "DELETE" }),
            None => Err(crate::route::no_such_path(path)),
        },
    }
}

fn metrics(app: &App) -> Result<Response, ApiError> {
    let text = app
        .metrics
        .text()
        .map_err(|error| ApiError::internal("the metrics could not be written", &error))?;
    let mut response = Response::new(body::full(text));
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

async fn list_orgs(app: &App) -> Result<Response, ApiError> {
    respond::ok(&json!({ "object": "list", "data": app.catalog.orgs().await? }))
}

async fn create_org(app: &App, body: Body) -> Result<Response, ApiError> {
    let value = json::parse(&body::read(body).await?)?;
    let name: Name = Object::of(&value)?.required_text("name")?.parse()?;
    let (org, key) = bootstrap::create_org(app, name).await?;
    respond::json(StatusCode::CREATED, &json!({ "org": org, "key": key }))
}

async fn top_up(app: &App, body: Body) -> Result<Response, ApiError> {
    let value = json::parse(&body::read(body).await?)?;
    let fields = Object::of(&value)?;
    let amount: Nano = fields
        .required_text("amount")?
        .parse()
        .map_err(|error| fields.wrong("amount", &format!("is not credits: {error}")))?;
    if amount.as_nano() <= 0 {
        return Err(fields.wrong("amount", "must be more than zero"));
    }
    // Without an id of the operator's own, a repeated request is a second top-up.
    let op = match fields.text("id")? {
        Some(id) => OpId::new(format!("top-up-{id}"))
            .map_err(|error| fields.wrong("id", &error.to_string()))?,
        None => OpId::generate(),
    };
    let org = app.catalog.org(fields.required_text("org")?).await?;
    let note = fields.text("note")?.unwrap_or_default().to_owned();
    let balance = app.billing.top_up(op, OrgId::new(&org.id), amount, note).await?;
    respond::ok(&json!({
        "org": org.name,
        "posted": balance.posted,
        "held": balance.held,
        "available": balance.available,
    }))
}

async fn set_prices(app: &App, body: Body) -> Result<Response, ApiError> {
    let mut value = json::parse(&body::read(body).await?)?;
    if let Value::Object(fields) = &mut value {
        // A book that was read from the server can be sent back with one number changed.
        fields.remove("version");
        fields.entry("op").or_insert_with(|| Value::from(OpId::generate().to_string()));
    }
    let book: NewPriceBook = serde_json::from_value(value)
        .map_err(|error| ApiError::invalid("this is not a price book", &error))?;
    respond::ok(&*app.billing.set_prices(book).await?)
}

fn list_models(app: &App) -> Result<Response, ApiError> {
    respond::ok(&json!({ "object": "list", "data": app.inference.models() }))
}

async fn add_model(app: &App, body: Body) -> Result<Response, ApiError> {
    let value = json::parse(&body::read(body).await?)?;
    let fields = Object::of(&value)?;
    let name = fields.required_text("name")?.to_owned();
    let path = PathBuf::from(fields.required_text("path")?);
    if !path.is_absolute() {
        return Err(fields.wrong("path", "must be absolute: the server has its own folder"));
    }
    if app.bridge.model(&name).is_some() {
        return Err(ApiError::Conflict(format!("the model '{name}' exists already")));
    }
    let info = load(app, &name, path.clone()).await?;
    let new = NewModel {
        name: name.clone(),
        source: path.display().to_string(),
        digest: info.digest.clone(),
        kind: kind(&info),
    };
    if let Err(error) = app.catalog.add_model(new).await {
        app.inference.remove(&name);
        return Err(error.into());
    }
    respond::json(StatusCode::CREATED, &info)
}

async fn load(app: &App, name: &str, path: PathBuf) -> Result<ModelInfo, ApiError> {
    let (inference, name) = (app.inference.clone(), name.to_owned());
    let loaded = tokio::task::spawn_blocking(move || inference.add(&name, ModelSource::Path(path)));
    loaded
        .await
        .map_err(|error| ApiError::internal("loading a model did not end", &error))?
        .map_err(|error| match error {
            InferenceError::InvalidRequest { field, reason } => ApiError::field(field, reason),
            InferenceError::Overloaded(what) => ApiError::Overloaded(what.to_owned()),
            other => ApiError::field("path", other.to_string()),
        })
}

fn kind(info: &ModelInfo) -> String {
    use emberbox_runtime::bridge::ModelKind;
    match info.kind {
        ModelKind::Generation => "generation".to_owned(),
        ModelKind::Embedding => "embedding".to_owned(),
    }
}

async fn remove_model(app: &App, name: &str) -> Result<Response, ApiError> {
    let decoded = percent_decode_str(name).decode_utf8();
    let name = decoded.or(Err(ApiError::ModelNotFound(name.to_owned())))?;
    if name == bootstrap::BUNDLED_MODEL && app.config.inference.bundled_model {
        let message = "the bundled model is switched off by the setting inference.bundled_model";
        return Err(ApiError::Conflict(message.to_owned()));
    }
    app.catalog.remove_model(&name).await?;
    app.inference.remove(&name);
    respond::ok(&json!({ "name": name, "deleted": true }))
}
