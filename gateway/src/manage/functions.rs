use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use emberbox_catalog::{Function, Principal, Version};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::{Value, json};

use crate::app::App;
use crate::body::{self, Body};
use crate::deployments::{self, Published, Upload};
use crate::errors::ApiError;
use crate::json::{self, Object};
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest};
use crate::respond;
use crate::route::{Route, only};
use crate::stack::{Request, Response};

/// Log lines on one page.
const LOG_LINES_DEFAULT: usize = 100;
const LOG_LINES_MAX: usize = 1_000;

/// Answers `/v1/functions/…`. A function of another organisation is one that does not exist.
pub(super) async fn handle(
    app: &App,
    principal: &Principal,
    route: Route,
    request: Request,
) -> Result<Response, ApiError> {
    if !principal.key.role.manages_functions() {
        let message = "this key calls only: functions need a developer's or an owner's key";
        return Err(ApiError::Forbidden(message.to_owned()));
    }
    let (parts, body) = request.into_parts();
    match (route, &parts.method) {
        (Route::Functions, _) => {
            only(&parts.method, &Method::GET, "GET")?;
            let found = app.catalog.functions(&principal.org.id).await?;
            let data: Vec<Value> = found.iter().map(shown).collect();
            respond::ok(&json!({ "object": "list", "data": data }))
        }
        (Route::Function(name), &Method::GET) => {
            respond::ok(&shown(&find(app, principal, &name).await?))
        }
        (Route::Function(name), &Method::DELETE) => delete(app, principal, &name).await,
        (Route::Function(_), _) => Err(ApiError::MethodNotAllowed { allowed: "GET, DELETE" }),
        (Route::Versions(name), &Method::GET) => versions(app, principal, &name).await,
        (Route::Versions(name), &Method::POST) => {
            publish(app, principal, &name, (&parts, body)).await
        }
        (Route::Versions(_), _) => Err(ApiError::MethodNotAllowed { allowed: "GET, POST" }),
        (Route::Live(name), _) => {
            only(&parts.method, &Method::PUT, "PUT")?;
            activate(app, principal, &name, body).await
        }
        (Route::FunctionLogs(name), _) => {
            only(&parts.method, &Method::GET, "GET")?;
            logs(app, principal, &name, &parts.uri).await
        }
        _ => Err(crate::route::no_such_path(parts.uri.path())),
    }
}

async fn find(app: &App, principal: &Principal, name: &str) -> Result<Function, ApiError> {
    Ok(app.catalog.function(&principal.org.name, name).await?)
}

fn shown(function: &Function) -> Value {
    json!({
        "object": "function",
        "function": function.name,
        "owner": function.owner,
        "live": function.live,
        "url": url(&function.owner, &function.name),
        "created_at_ms": function.created_at_ms,
    })
}

fn url(owner: &str, name: &str) -> String {
    format!("/f/{owner}/{name}/")
}

async fn delete(app: &App, principal: &Principal, name: &str) -> Result<Response, ApiError> {
    let org = &principal.org;
    deployments::delete(app, (&org.name, &org.id, name)).await?;
    respond::ok(&json!({ "function": name, "deleted": true }))
}

async fn versions(app: &App, principal: &Principal, name: &str) -> Result<Response, ApiError> {
    let function = find(app, principal, name).await?;
    let versions = app.catalog.versions(&principal.org.id, name).await?;
    let data: Vec<Value> =
        versions.iter().map(|version| shown_version(&function, version)).collect();
    respond::ok(&json!({ "object": "list", "data": data }))
}

fn shown_version(function: &Function, version: &Version) -> Value {
    json!({
        "object": "function.version",
        "function": function.name,
        "owner": function.owner,
        "version": version.number,
        "digest": version.digest,
        "size_bytes": version.size_bytes,
        "manifest": version.manifest,
        "created_at_ms": version.created_at_ms,
        "live": function.live == Some(version.number),
        "url": url(&function.owner, &function.name),
    })
}

async fn publish(
    app: &App,
    principal: &Principal,
    name: &str,
    (parts, body): (&Parts, Body),
) -> Result<Response, ApiError> {
    // The whole body or nothing: an upload that breaks off never gets as far as the disk. It is read
    // before anything is refused, for many clients send all of it before they read why.
    let component = body::read(body).await?;
    let activate = respond::query(&parts.uri, "activate")?.unwrap_or(true);
    let manifest_text = manifest_header(&parts.headers)?;
    let manifest = Manifest::parse(&manifest_text)
        .map_err(|error| ApiError::field("manifest", error.to_string()))?;
    if manifest.name != name {
        let reason = format!("the manifest is of '{}', the path of '{name}'", manifest.name);
        return Err(ApiError::field("function.name", reason));
    }
    app.deployments.check_limits(&manifest)?;
    let mut warnings = unknown_models(app, &manifest);
    let org = &principal.org;
    let upload = Upload {
        owner: org.name.clone(),
        org_id: org.id.clone(),
        manifest_text,
        manifest,
        component,
        activate,
    };
    let Published { version, unset } = deployments::publish(app, upload).await?;
    warnings.extend(unset.iter().map(|name| format!("the secret '{name}' is not set yet")));
    let function = find(app, principal, name).await?;
    let mut answer = shown_version(&function, &version);
    answer["warnings"] = Value::from(warnings);
    respond::json(StatusCode::CREATED, &answer)
}

fn manifest_header(headers: &HeaderMap) -> Result<String, ApiError> {
    let name = "x-emberbox-manifest";
    let wrong = |reason: &str| ApiError::field(name, format!("{name} {reason}"));
    let value =
        headers.get(name).ok_or_else(|| wrong("is missing: base64 of the emberbox.toml"))?;
    if value.len() > MANIFEST_BYTES_MAX.div_ceil(3) * 4 {
        return Err(wrong("is too long"));
    }
    let bytes = BASE64_STANDARD.decode(value.as_bytes()).or(Err(wrong("is not base64")))?;
    String::from_utf8(bytes).or(Err(wrong("is not UTF-8 inside its base64")))
}

/// A model may be added after the function, so this is no refusal.
fn unknown_models(app: &App, manifest: &Manifest) -> Vec<String> {
    let unknown = manifest.models.iter().filter(|name| app.bridge.model(name).is_none());
    unknown.map(|name| format!("there is no model '{name}' on this server yet")).collect()
}

async fn activate(
    app: &App,
    principal: &Principal,
    name: &str,
    body: Body,
) -> Result<Response, ApiError> {
    let value = json::parse(&body::read(body).await?)?;
    let fields = Object::of(&value)?;
    let number = fields.whole("version", 1..=u64::MAX >> 1)?;
    let number = number.ok_or_else(|| fields.wrong("version", "is required"))?;
    let org = &principal.org;
    find(app, principal, name).await?;
    deployments::activate(app, (&org.name, &org.id, name), number).await?;
    respond::ok(&shown(&find(app, principal, name).await?))
}

async fn logs(
    app: &App,
    principal: &Principal,
    name: &str,
    uri: &Uri,
) -> Result<Response, ApiError> {
    let after = respond::query(uri, "after")?.unwrap_or(0);
    let limit = respond::query(uri, "limit")?.unwrap_or(LOG_LINES_DEFAULT);
    let request_id: Option<String> = respond::query(uri, "request_id")?;
    find(app, principal, name).await?;
    let of = (principal.org.id.as_str(), name);
    let (lines, next) =
        app.logs.after(of, (after, request_id.as_deref()), limit.min(LOG_LINES_MAX));
    respond::ok(&json!({ "data": lines, "next": next }))
}
