use emberbox_billing::{
    Act, BillingError, Endpoint, Nano, OpId, Order, OrgId, Outcome, WebhookSecret, check_url,
};
use emberbox_catalog::{Catalog, CatalogError, Principal};
use http::HeaderMap;

use crate::app::App;
use crate::errors::ApiError;
use crate::json::Object;

/// The header that makes a repeated request one order.
const ID_HEADER: &str = "idempotency-key";
/// The most characters of an id that a request names: what stands before it must fit too.
const ID_CHARS_MAX: usize = 64;
/// The catalog's setting that secrets of endpoints are derived from, in hex.
const SECRETS_SEED: &str = "webhook_secrets_seed";
/// Its bytes.
const SEED_BYTES: usize = 32;

/// Who asks for an order, as the audit log names them, and under which names their ids stand:
/// the same id of two organisations is two ids.
pub(crate) struct Asker {
    by: String,
    scope: String,
}

impl Asker {
    /// The operator; `scope` is for ids of this kind of order.
    pub(crate) fn operator(scope: &str) -> Asker {
        Asker { by: "operator".to_owned(), scope: scope.to_owned() }
    }

    /// The key of a request.
    pub(crate) fn key(principal: &Principal) -> Asker {
        Asker { by: principal.key.id.clone(), scope: format!("{}:", principal.org.id) }
    }

    /// The id of an order: the header `Idempotency-Key`, or the field `id`, or a new one. Without
    /// an id of the caller's own, a repeated request is a second order.
    pub(crate) fn op(
        &self,
        headers: &HeaderMap,
        fields: Option<&Object<'_>>,
    ) -> Result<OpId, ApiError> {
        let wrong = |name: &str| {
            let reason = format!("{name} has 1 to {ID_CHARS_MAX} printable characters of ASCII");
            ApiError::field(name, reason)
        };
        let (name, id) = match headers.get(ID_HEADER) {
            Some(value) => (ID_HEADER, Some(value.to_str().or(Err(wrong(ID_HEADER)))?)),
            None => ("id", fields.map(|fields| fields.text("id")).transpose()?.flatten()),
        };
        let Some(id) = id else { return Ok(OpId::generate()) };
        let plain = (1..=ID_CHARS_MAX).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if !plain {
            return Err(wrong(name));
        }
        OpId::new(format!("{}{id}", self.scope)).map_err(ApiError::from)
    }

    /// Gives the order to the ledger.
    pub(crate) async fn order(self, app: &App, op: OpId, act: Act) -> Result<Outcome, ApiError> {
        let answer = app.billing.order(Order { op, by: self.by, act }).await;
        answer.map_err(|error| match error {
            BillingError::Conflict => {
                let reason = "this id was used before, for something else";
                ApiError::Conflict(reason.to_owned())
            }
            error => error.into(),
        })
    }
}

/// An amount of credits in a text; a number in JSON may have been through a float.
pub(crate) fn credits(fields: &Object<'_>, name: &str) -> Result<Nano, ApiError> {
    let text = fields.required_text(name)?;
    text.parse().map_err(|error: BillingError| fields.wrong(name, &format!("is wrong: {error}")))
}

/// An amount above zero.
pub(crate) fn positive(fields: &Object<'_>, name: &str) -> Result<Nano, ApiError> {
    let amount = credits(fields, name)?;
    if amount > Nano::ZERO { Ok(amount) } else { Err(fields.wrong(name, "must be more than zero")) }
}

/// An endpoint for messages, as a request names it. Unless the request has a secret, it is derived
/// from the order's id: who repeats a request whose answer was lost is told the same secret.
pub(crate) async fn endpoint(
    app: &App,
    fields: &Object<'_>,
    op: &OpId,
) -> Result<Endpoint, ApiError> {
    let url = fields.required_text("url")?;
    check_url(url, app.config.webhooks.allow_private)
        .map_err(|error| fields.wrong("url", &format!("is refused: {error}")))?;
    let secret = match fields.text("secret")? {
        Some(text) => text
            .parse()
            .map_err(|error: BillingError| fields.wrong("secret", &format!("is wrong: {error}")))?,
        None => WebhookSecret::derived(&secrets_seed(app).await?, &format!("{op}\n{url}"))?,
    };
    Ok(Endpoint { url: url.to_owned(), secret: secret.expose() })
}

/// Makes the seed that all gateways of a catalog derive secrets from, where there is none yet.
pub(crate) async fn make_secrets_seed(catalog: &dyn Catalog) -> Result<(), CatalogError> {
    if catalog.setting(SECRETS_SEED).await?.is_some() {
        return Ok(());
    }
    let mut random = [0_u8; SEED_BYTES];
    getrandom::fill(&mut random).map_err(CatalogError::Random)?;
    catalog.set_setting(SECRETS_SEED, &hex::encode(random)).await
}

/// It is read anew each time: of gateways that start at the same moment, the last one made it.
async fn secrets_seed(app: &App) -> Result<Vec<u8>, ApiError> {
    let text = app.catalog.setting(SECRETS_SEED).await?.unwrap_or_default();
    hex::decode(text).map_err(|error| ApiError::internal("the seed of secrets", &error))
}

/// The ledger's name of an organisation that a request calls by its name or its id.
pub(crate) async fn org_by_name_or_id(app: &App, name: &str) -> Result<OrgId, ApiError> {
    let orgs = app.catalog.orgs().await?;
    let found = orgs.into_iter().find(|org| org.name == name || org.id == name);
    found.map(|org| OrgId::new(org.id)).ok_or_else(|| ApiError::NotFound {
        what: "organisation",
        name: name.chars().take(80).collect(),
    })
}
