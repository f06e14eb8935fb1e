//! What a fresh server finds: the bundled model, a first organisation, its key and its credits.

use std::path::PathBuf;
use std::sync::Arc;

use emberbox_billing::{Act, OpId, Order, OrgId, Payment};
use emberbox_catalog::{CatalogError, Name, NewKey, Org, Role};
use emberbox_runtime::bridge::ModelInfo;

use crate::app::App;
use crate::models::{self, Offer, OfferError, Source};
use crate::start::StartError;

/// The catalog's setting that is there once the first organisation has its key and credits.
const BOOTSTRAPPED: &str = "bootstrapped";

/// Makes the bundled model known and those that the operator has added; the first request for one
/// has it loaded, unless it is pinned and loaded now. One whose files are no good any more is
/// reported and left out: it must not keep the others from being served.
pub(crate) async fn models(app: &Arc<App>) -> Result<(), StartError> {
    if app.config.inference.bundled_model
        && let Err(error) = offer(app, models::BUNDLED, Source::Bundled).await
    {
        tracing::error!(%error, "the bundled model is not offered");
    }
    for model in app.catalog.models().await? {
        let source = Source::Path(PathBuf::from(&model.source));
        match offer(app, &model.name, source).await {
            Ok(info) if info.digest != model.digest => {
                tracing::warn!(model = model.name, "the model's files changed since it was added");
            }
            Ok(_) => {}
            Err(error) => tracing::error!(model = model.name, %error, "a model is not offered"),
        }
    }
    Ok(())
}

/// Whether a model is to stay in memory.
pub(crate) fn is_pinned(app: &App, model: &str) -> bool {
    app.config.inference.pinned_models.split(',').any(|name| name.trim() == model)
}

async fn offer(app: &Arc<App>, name: &str, source: Source) -> Result<ModelInfo, OfferError> {
    let pinned = is_pinned(app, name);
    let offer = Offer { name: name.to_owned(), source, load: pinned, pinned };
    app.models.offer(offer).await
}

/// Creates the first organisation; returns its name and its owner's key. A start that was
/// interrupted on the way is taken up again by the next one.
pub(crate) async fn first_org(app: &Arc<App>) -> Result<Option<(String, String)>, StartError> {
    if app.catalog.setting(BOOTSTRAPPED).await?.is_some() {
        return Ok(None);
    }
    let name: Name = app.config.bootstrap.org.parse()?;
    let orgs = app.catalog.orgs().await?;
    let (org, secret) = match orgs.into_iter().find(|org| org.name == name.as_str()) {
        Some(org) => {
            let secret = first_key(app, &org).await?;
            (org, secret)
        }
        None => create_org(app, name).await?,
    };
    let credits = app.config.bootstrap.credits;
    if credits.as_nano() > 0 {
        // The id makes it once for ever, whatever interrupts the first start.
        let op = OpId::new(format!("bootstrap-{}", org.id))?;
        let payment = Payment {
            org: OrgId::new(&org.id),
            amount: credits,
            rail: "operator".to_owned(),
            reference: None,
            note: "starting credits".to_owned(),
        };
        let act = Act::TopUp(payment);
        app.billing.order(Order { op, by: "bootstrap".to_owned(), act }).await?;
    }
    app.catalog.set_setting(BOOTSTRAPPED, "1").await?;
    Ok(Some((org.name, secret)))
}

/// Creates an organisation with its first key, an owner's.
pub(crate) async fn create_org(app: &App, name: Name) -> Result<(Org, String), CatalogError> {
    let org = app.catalog.create_org(name).await?;
    let secret = first_key(app, &org).await?;
    Ok((org, secret))
}

async fn first_key(app: &App, org: &Org) -> Result<String, CatalogError> {
    let new = NewKey { org_id: org.id.clone(), name: "first".to_owned(), role: Role::Owner };
    let (_, secret) = app.catalog.create_key(new).await?;
    Ok(secret.reveal().to_owned())
}
