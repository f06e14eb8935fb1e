use std::sync::Arc;

use emberbox_runtime::bridge::{Bridge, Usage};
use emberbox_runtime::models::Metered;
use emberbox_runtime::spend::{Exhausted, Permit, Spend, Units};
use emberbox_runtime::{Call, LogSink};
use http_body_util::{BodyExt, Empty};
use hyper::Request;

const PAYER: &str = "org_bench";

/// A request without a body, to a function in this process.
pub(crate) fn call(
    path: &str,
    bridge: Arc<dyn Bridge>,
    spend: Arc<dyn Spend>,
) -> anyhow::Result<Call> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    Ok(Call {
        request: Request::get(path).header("host", "functions.bench").body(body)?,
        tenant: PAYER.to_owned(),
        request_id: "req_bench".to_owned(),
        models: Arc::new(Metered::new(bridge, spend, PAYER.to_owned())),
        outbound: None,
        logs: Arc::new(Silent),
    })
}

/// Lets a call spend what it wants.
pub(crate) struct Free;

impl Spend for Free {
    fn reserve(&self, _: &str, _: Units) -> Result<Permit, Exhausted> {
        Ok(Permit(0))
    }

    fn settle(&self, _: Permit, _: &str, _: Usage) {}
}

/// Drops log lines.
struct Silent;

impl LogSink for Silent {
    fn line(&self, _: emberbox_runtime::Stream, _: &str) {}
}
