use emberbox_catalog::{Name, NewKey, Role};
use http::StatusCode;
use serde_json::json;

use crate::app::App;
use crate::body::{self, Body};
use crate::bootstrap;
use crate::errors::ApiError;
use crate::json::{self, Object};
use crate::money::shown;
use crate::respond;
use crate::stack::Response;

/// All organisations.
pub(super) async fn list(app: &App) -> Result<Response, ApiError> {
    respond::ok(&shown::list(&app.catalog.orgs().await?))
}

/// A new organisation and its owner's key.
pub(super) async fn create(app: &App, body: Body) -> Result<Response, ApiError> {
    let value = json::parse(&body::read(body).await?)?;
    let name: Name = Object::of(&value)?.required_text("name")?.parse()?;
    let (org, key) = bootstrap::create_org(app, name).await?;
    respond::json(StatusCode::CREATED, &json!({ "org": org, "key": key }))
}

/// A key for an organisation that is there: its own are lost, or a program makes them.
pub(super) async fn create_key(app: &App, org: &str, body: Body) -> Result<Response, ApiError> {
    let value = json::parse(&body::read(body).await?)?;
    let fields = Object::of(&value)?;
    let role = fields.text("role")?.unwrap_or("owner");
    let role: Role = role.parse().map_err(|error| ApiError::invalid("role", &error))?;
    let name = fields.required_text("name")?.to_owned();
    let org = app.catalog.org(org).await?;
    let (key, secret) = app.catalog.create_key(NewKey { org_id: org.id, name, role }).await?;
    // The only time that anybody sees it.
    let shown = shown::with(&key, [("key", json!(secret.reveal()))])?;
    respond::json(StatusCode::CREATED, &shown)
}
