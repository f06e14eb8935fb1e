use emberbox_catalog::{NewSecret, Principal};
use http::Method;
use serde_json::json;

use crate::app::App;
use crate::body::{self, Body};
use crate::errors::ApiError;
use crate::json::{self, Object};
use crate::respond;
use crate::route::{Route, only};
use crate::secrets::{Of, check_value};
use crate::stack::{Request, Response};

/// Answers `/v1/secrets` and `/v1/secrets/{name}`. Values go in and never come out, and a secret of
/// another organisation is one that does not exist.
pub(super) async fn handle(
    app: &App,
    principal: &Principal,
    route: Route,
    request: Request,
) -> Result<Response, ApiError> {
    if !principal.key.role.manages_functions() {
        let message = "this key calls only: secrets need a developer's or an owner's key";
        return Err(ApiError::Forbidden(message.to_owned()));
    }
    let (parts, body) = request.into_parts();
    match (route, &parts.method) {
        (Route::Secret(name), &Method::PUT) => set(app, principal, name, body).await,
        (Route::Secret(name), &Method::DELETE) => {
            let deleted = app.catalog.delete_secret(&principal.org.id, &name).await;
            // A database that failed may have done it all the same.
            app.deployments.forget_org(&principal.org.name);
            deleted?;
            respond::ok(&json!({ "name": name, "deleted": true }))
        }
        (Route::Secret(_), _) => Err(ApiError::MethodNotAllowed { allowed: "DELETE, PUT" }),
        _ => {
            only(&parts.method, &Method::GET, "GET")?;
            let secrets = app.catalog.secrets(&principal.org.id).await?;
            respond::ok(&json!({ "object": "list", "data": secrets }))
        }
    }
}

async fn set(
    app: &App,
    principal: &Principal,
    name: String,
    body: Body,
) -> Result<Response, ApiError> {
    let value = json::parse(&body::read(body).await?)?;
    let fields = Object::of(&value)?;
    let text = fields.required_text("value")?;
    check_value(text).map_err(|reason| fields.wrong("value", reason))?;
    let org = &principal.org;
    let sealed = app.vault.seal(Of { org_id: &org.id, name: &name }, text);
    let sealed =
        sealed.map_err(|error| ApiError::internal("a secret could not be sealed", &error))?;
    let kept = app.catalog.set_secret(NewSecret { org_id: org.id.clone(), name, sealed }).await;
    // A database that failed may have done it all the same.
    app.deployments.forget_org(&org.name);
    respond::ok(&kept?)
}
