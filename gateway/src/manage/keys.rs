use emberbox_catalog::{NewKey, Principal, Role};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::app::App;
use crate::body;
use crate::errors::ApiError;
use crate::json::{self, Object};
use crate::respond;
use crate::route::Route;
use crate::stack::{Request, Response};

/// Answers `/v1/keys` and `/v1/keys/{id}`.
pub(super) async fn handle(
    app: &App,
    principal: &Principal,
    route: Route,
    request: Request,
) -> Result<Response, ApiError> {
    if !principal.key.role.manages_keys() {
        return Err(ApiError::Forbidden("only an owner's key manages keys".to_owned()));
    }
    match (route, request.method()) {
        (Route::Keys, &Method::GET) => {
            let keys = app.catalog.keys(&principal.org.id).await?;
            respond::ok(&json!({ "object": "list", "data": keys }))
        }
        (Route::Keys, &Method::POST) => create(app, principal, request).await,
        (Route::Key(id), &Method::DELETE) => {
            keep_an_owner(app, principal, &id).await?;
            let revoked = app.catalog.revoke_key(&principal.org.id, &id).await?;
            app.keys.forget(&revoked.id);
            respond::ok(&revoked)
        }
        (Route::Key(_), _) => Err(ApiError::MethodNotAllowed { allowed: "DELETE" }),
        _ => Err(ApiError::MethodNotAllowed { allowed: "GET, POST" }),
    }
}

/// Refuses to revoke the last key that can make others: nobody could undo that.
async fn keep_an_owner(app: &App, principal: &Principal, id: &str) -> Result<(), ApiError> {
    let keys = app.catalog.keys(&principal.org.id).await?;
    let mut owners =
        keys.iter().filter(|key| key.role.manages_keys() && key.revoked_at_ms.is_none());
    match (owners.next(), owners.next()) {
        (Some(only), None) if only.id == id => {
            let reason = "this is the organisation's last owner key; create another one first";
            Err(ApiError::Conflict(reason.to_owned()))
        }
        _ => Ok(()),
    }
}

async fn create(app: &App, principal: &Principal, request: Request) -> Result<Response, ApiError> {
    let value = json::parse(&body::read(request.into_body()).await?)?;
    let fields = Object::of(&value)?;
    let role = fields.text("role")?.unwrap_or("consumer");
    let role: Role = role.parse().map_err(|error| ApiError::invalid("role", &error))?;
    let name = fields.required_text("name")?.to_owned();
    let new = NewKey { org_id: principal.org.id.clone(), name, role };
    let (key, secret) = app.catalog.create_key(new).await?;
    let mut shown = serde_json::to_value(&key)
        .map_err(|error| ApiError::internal("a key could not be written", &error))?;
    if let Value::Object(fields) = &mut shown {
        // The only time that anybody sees it.
        fields.insert("key".to_owned(), Value::from(secret.reveal()));
    }
    respond::json(StatusCode::CREATED, &shown)
}
