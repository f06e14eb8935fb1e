use emberbox_billing::{Act, AutoTopUp, KeyId, Nano, OrgId, Outcome, Window};
use emberbox_catalog::Principal;
use http::request::Parts;
use http::{Method, Uri};
use serde_json::json;

use crate::app::App;
use crate::body::{self, Body};
use crate::errors::ApiError;
use crate::json::{self, Object};
use crate::money::orders::{self, Asker};
use crate::money::shown;
use crate::respond;
use crate::route::{Route, only};
use crate::stack::{Request, Response};

/// A request about the money of one organisation.
struct Desk<'a> {
    app: &'a App,
    principal: &'a Principal,
    org: OrgId,
    parts: &'a Parts,
}

/// Answers `/v1/credits`, `/v1/budgets`, `/v1/notices`, `/v1/auto-top-up` and `/v1/endpoint`.
/// Every key may look; an owner's changes.
pub(super) async fn handle(
    app: &App,
    principal: &Principal,
    route: Route,
    request: Request,
) -> Result<Response, ApiError> {
    let (parts, body) = request.into_parts();
    if parts.method != Method::GET && !principal.key.role.manages_keys() {
        let reason = "only an owner's key changes what the organisation may spend";
        return Err(ApiError::Forbidden(reason.to_owned()));
    }
    let desk = Desk { app, principal, org: OrgId::new(&principal.org.id), parts: &parts };
    match (route, &parts.method) {
        (Route::Credits, method) => {
            only(method, &Method::GET, "GET")?;
            let account = app.billing.account(&desk.org).await?;
            respond::ok(&shown::account(&principal.org.name, &account))
        }
        (Route::Budgets, &Method::GET) => desk.budgets().await,
        (Route::Budgets, &Method::PUT) => desk.set_budget(body).await,
        (Route::Budgets, &Method::DELETE) => desk.remove_budget().await,
        (Route::Notices, &Method::GET) => desk.notices().await,
        (Route::Notices, &Method::PUT) => desk.set_notices(body).await,
        (Route::Notices, _) => Err(ApiError::MethodNotAllowed { allowed: "GET, PUT" }),
        (Route::AutoTopUp, &Method::GET) => desk.auto_top_up().await,
        (Route::AutoTopUp, &Method::PUT) => desk.set_auto_top_up(body).await,
        (Route::AutoTopUp, &Method::DELETE) => {
            desk.order(None, Act::SetAutoTopUp { org: desk.org.clone(), rule: None }).await?;
            desk.auto_top_up().await
        }
        (Route::Endpoint, &Method::GET) => desk.endpoint().await,
        (Route::Endpoint, &Method::PUT) => desk.set_endpoint(body).await,
        (Route::Endpoint, &Method::DELETE) => {
            let act = Act::SetEndpoint { org: Some(desk.org.clone()), endpoint: None };
            desk.order(None, act).await?;
            desk.endpoint().await
        }
        _ => Err(ApiError::MethodNotAllowed { allowed: "GET, PUT, DELETE" }),
    }
}

impl Desk<'_> {
    async fn order(&self, fields: Option<&Object<'_>>, act: Act) -> Result<Outcome, ApiError> {
        let asker = Asker::key(self.principal);
        let op = asker.op(&self.parts.headers, fields)?;
        asker.order(self.app, op, act).await
    }

    async fn budgets(&self) -> Result<Response, ApiError> {
        respond::ok(&shown::list(&self.app.billing.account(&self.org).await?.budgets))
    }

    async fn set_budget(&self, body: Body) -> Result<Response, ApiError> {
        let value = json::parse(&body::read(body).await?)?;
        let fields = Object::of(&value)?;
        let window = window(fields.required_text("window")?)?;
        let limit = orders::credits(&fields, "limit")?;
        if limit.is_negative() {
            return Err(fields.wrong("limit", "must not be negative"));
        }
        let key = self.key(fields.text("key")?).await?;
        let act = Act::SetBudget { org: self.org.clone(), key, window, limit: Some(limit) };
        self.order(Some(&fields), act).await?;
        self.budgets().await
    }

    async fn remove_budget(&self) -> Result<Response, ApiError> {
        let uri: &Uri = &self.parts.uri;
        let Some(text) = respond::query::<String>(uri, "window")? else {
            return Err(ApiError::field("window", "window is required: day, month or total"));
        };
        let window = window(&text)?;
        let key = self.key(respond::query::<String>(uri, "key")?.as_deref()).await?;
        let act = Act::SetBudget { org: self.org.clone(), key, window, limit: None };
        self.order(None, act).await?;
        self.budgets().await
    }

    /// A key of this organisation; a revoked one may still have a budget to be removed.
    async fn key(&self, id: Option<&str>) -> Result<Option<KeyId>, ApiError> {
        let Some(id) = id else { return Ok(None) };
        let keys = self.app.catalog.keys(&self.principal.org.id).await?;
        match keys.iter().any(|key| key.id == id) {
            true => Ok(Some(KeyId::new(id))),
            false => Err(ApiError::NotFound { what: "key", name: id.chars().take(80).collect() }),
        }
    }

    async fn notices(&self) -> Result<Response, ApiError> {
        let account = self.app.billing.account(&self.org).await?;
        respond::ok(&json!({ "low_balance": account.low_balance }))
    }

    async fn set_notices(&self, body: Body) -> Result<Response, ApiError> {
        let value = json::parse(&body::read(body).await?)?;
        let fields = Object::of(&value)?;
        let below: Option<Nano> = match fields.get("low_balance") {
            Some(_) => Some(orders::positive(&fields, "low_balance")?),
            // Absent could be a mistake in the name; null is meant.
            None if value.get("low_balance").is_some() => None,
            None => return Err(fields.wrong("low_balance", "is required; null for no notice")),
        };
        self.order(Some(&fields), Act::SetLowBalance { org: self.org.clone(), below }).await?;
        self.notices().await
    }

    async fn auto_top_up(&self) -> Result<Response, ApiError> {
        let account = self.app.billing.account(&self.org).await?;
        respond::ok(&json!({ "auto_top_up": account.auto_top_up }))
    }

    async fn set_auto_top_up(&self, body: Body) -> Result<Response, ApiError> {
        let value = json::parse(&body::read(body).await?)?;
        let fields = Object::of(&value)?;
        let per_month_max = fields.whole("per_month_max", 1_u32..=1000)?;
        let rule = AutoTopUp {
            below: orders::positive(&fields, "below")?,
            amount: orders::positive(&fields, "amount")?,
            per_month_max: per_month_max
                .ok_or_else(|| fields.wrong("per_month_max", "is required"))?,
        };
        let act = Act::SetAutoTopUp { org: self.org.clone(), rule: Some(rule) };
        self.order(Some(&fields), act).await?;
        self.auto_top_up().await
    }

    async fn endpoint(&self) -> Result<Response, ApiError> {
        let endpoint = self.app.billing.endpoint(Some(&self.org)).await?;
        respond::ok(&shown::endpoint(&endpoint))
    }

    /// The secret is in this answer, and in that to the same request with the same id.
    async fn set_endpoint(&self, body: Body) -> Result<Response, ApiError> {
        let value = json::parse(&body::read(body).await?)?;
        let fields = Object::of(&value)?;
        let asker = Asker::key(self.principal);
        let op = asker.op(&self.parts.headers, Some(&fields))?;
        let endpoint = orders::endpoint(self.app, &fields, &op).await?;
        let shown = json!({ "url": endpoint.url, "secret": endpoint.secret });
        let act = Act::SetEndpoint { org: Some(self.org.clone()), endpoint: Some(endpoint) };
        asker.order(self.app, op, act).await?;
        respond::ok(&shown)
    }
}

fn window(text: &str) -> Result<Window, ApiError> {
    match text {
        "day" => Ok(Window::Day),
        "month" => Ok(Window::Month),
        "total" => Ok(Window::Total),
        _ => Err(ApiError::field("window", "window is day, month or total")),
    }
}
