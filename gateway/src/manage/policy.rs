//! What an organisation grants its functions, of what the operator allows.

use emberbox_catalog::{Catalog, Principal};
use http::Method;
use serde_json::{Value, json};

use crate::app::App;
use crate::body;
use crate::egress::rules::Rules;
use crate::errors::ApiError;
use crate::json::{self, Object};
use crate::respond;
use crate::stack::{Request, Response};

/// An organisation's policy; what it does not say is as the operator allows.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    pub(crate) outbound_hosts: Option<Rules>,
    pub(crate) load_models: Option<bool>,
}

/// Where it stands in the catalog.
fn setting(org_id: &str) -> String {
    format!("policy:{org_id}")
}

impl Policy {
    /// The policy in force.
    pub(crate) async fn of(catalog: &dyn Catalog, org_id: &str) -> Result<Self, ApiError> {
        let Some(text) = catalog.setting(&setting(org_id)).await? else {
            return Ok(Self::default());
        };
        let value: Value = serde_json::from_str(&text)
            .map_err(|error| ApiError::internal("a stored policy is not JSON", &error))?;
        let read = Object::of(&value).and_then(|fields| Self::read(&fields));
        read.map_err(|error| ApiError::internal("a stored policy is not valid", &error))
    }

    fn read(fields: &Object<'_>) -> Result<Self, ApiError> {
        let outbound_hosts = match fields.get("outbound_hosts") {
            None => None,
            Some(Value::Array(hosts)) => {
                let texts: Option<Vec<&str>> = hosts.iter().map(Value::as_str).collect();
                let texts = texts.ok_or_else(|| list(fields))?;
                let rules = Rules::read(texts);
                Some(rules.map_err(|reason| fields.wrong("outbound_hosts", &reason))?)
            }
            Some(_) => return Err(list(fields)),
        };
        let load_models = match fields.get("load_models") {
            None => None,
            Some(_) => Some(fields.flag("load_models")?),
        };
        Ok(Self { outbound_hosts, load_models })
    }

    fn shown(&self) -> Value {
        json!({
            "object": "policy",
            "outbound_hosts": self.outbound_hosts.as_ref().map(Rules::texts),
            "load_models": self.load_models,
        })
    }
}

fn list(fields: &Object<'_>) -> ApiError {
    fields
        .wrong("outbound_hosts", "must be a list of hosts, or null for all that the server allows")
}

/// Answers `/v1/policy`.
pub(super) async fn handle(
    app: &App,
    principal: &Principal,
    request: Request,
) -> Result<Response, ApiError> {
    let org = &principal.org;
    match *request.method() {
        Method::GET => respond::ok(&Policy::of(&*app.catalog, &org.id).await?.shown()),
        Method::PUT if !principal.key.role.manages_keys() => {
            let message = "the policy is changed with an owner's key";
            Err(ApiError::Forbidden(message.to_owned()))
        }
        Method::PUT => {
            let value = json::parse(&body::read(request.into_body()).await?)?;
            let policy = Policy::read(&Object::of(&value)?)?;
            let shown = policy.shown();
            app.catalog.set_setting(&setting(&org.id), &shown.to_string()).await?;
            app.deployments.forget_org(&org.name);
            respond::ok(&shown)
        }
        _ => Err(ApiError::MethodNotAllowed { allowed: "GET, PUT" }),
    }
}
