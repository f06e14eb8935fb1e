use std::path::{Path, PathBuf};

use emberbox_catalog::NewModel;
use emberbox_runtime::bridge::ModelInfo;
use http::StatusCode;
use percent_encoding::percent_decode_str;
use serde_json::json;

use crate::app::App;
use crate::body::{self, Body};
use crate::bootstrap;
use crate::errors::ApiError;
use crate::json::{self, Object};
use crate::models::{self, Offer, OfferError, Source};
use crate::money::shown;
use crate::respond;
use crate::stack::Response;

/// All models.
pub(super) async fn list(app: &App) -> Result<Response, ApiError> {
    respond::ok(&shown::list(&app.models.list().await))
}

/// Loads a model from the server's disk and offers it. To add it again changes nothing.
pub(super) async fn add(app: &App, body: Body) -> Result<Response, ApiError> {
    let value = json::parse(&body::read(body).await?)?;
    let fields = Object::of(&value)?;
    let name = fields.required_text("name")?.to_owned();
    let path = PathBuf::from(fields.required_text("path")?);
    if !path.is_absolute() {
        return Err(fields.wrong("path", "must be absolute: the server has its own folder"));
    }
    if let Some(info) = app.bridge.model(&name) {
        let models = app.catalog.models().await?;
        if models.iter().any(|model| model.name == name && Path::new(&model.source) == path) {
            return respond::ok(&info);
        }
        return Err(ApiError::Conflict(format!("the model '{name}' exists already")));
    }
    let info = load(app, &name, path.clone()).await?;
    let new = NewModel {
        name: name.clone(),
        source: path.display().to_string(),
        digest: info.digest.clone(),
        kind: info.kind.name().to_owned(),
    };
    if let Err(error) = app.catalog.add_model(new).await {
        app.models.remove(&name);
        return Err(error.into());
    }
    respond::json(StatusCode::CREATED, &info)
}

async fn load(app: &App, name: &str, path: PathBuf) -> Result<ModelInfo, ApiError> {
    let pinned = bootstrap::is_pinned(app, name);
    let offer = Offer { name: name.to_owned(), source: Source::Path(path), load: true, pinned };
    app.models.offer(offer).await.map_err(|error| match error {
        OfferError::Invalid { field, reason } => ApiError::field(&field, reason),
        OfferError::Overloaded(what) => ApiError::Overloaded(what),
        OfferError::Model(what) => ApiError::field("path", what),
    })
}

/// Offers a model no longer.
pub(super) async fn remove(app: &App, name: &str) -> Result<Response, ApiError> {
    let decoded = percent_decode_str(name).decode_utf8();
    let name = decoded.or(Err(ApiError::ModelNotFound(name.to_owned())))?;
    if name == models::BUNDLED && app.config.inference.bundled_model {
        let message = "the bundled model is switched off by the setting inference.bundled_model";
        return Err(ApiError::Conflict(message.to_owned()));
    }
    app.catalog.remove_model(&name).await?;
    app.models.remove(&name);
    respond::ok(&json!({ "name": name, "deleted": true }))
}
