//! `ANY /f/{owner}/{function}/…`: any key may call any function, and pays for it.

use std::sync::Arc;

use emberbox_catalog::Principal;

use crate::app::App;
use crate::deployments;
use crate::egress;
use crate::errors::ApiError;
use crate::invoke::{self, Caller};
use crate::openai::arrival;
use crate::stack::{Request, Response};

/// Passes a request to a function and its answer back.
pub(crate) async fn call(
    app: &Arc<App>,
    principal: Arc<Principal>,
    (owner, function): (&str, &str),
    request: Request,
) -> Result<Response, ApiError> {
    let caller = Caller::new(principal, arrival(&request)?, request.headers())?;
    let live = deployments::live(app, owner, function).await?;
    egress::check_caller(request.headers(), &live.outbound_hosts)?;
    invoke::function::call(app, caller, live, request).await
}
