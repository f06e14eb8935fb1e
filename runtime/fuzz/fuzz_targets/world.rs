//! The surroundings of a call, and what must be true after it.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use emberbox_runtime::models::Metered;
use emberbox_runtime::{
    Call, CallEnding, CallError, CallReport, Deployment, Engine, EngineOptions, Grants, Limits,
    LogSink, Stream,
};
use http::Request;
use http_body_util::{BodyExt, Full};
use tokio::runtime::{Builder, Runtime};

use crate::echo::Echo;
use crate::purse::Purse;

pub(crate) const MODEL: &str = "echo";

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

pub(crate) static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    // The compiler is not what is looked for, and takes its time.
    let component_bytes_max = 64 << 10;
    let options =
        EngineOptions { instances_max: 4, component_bytes_max, ..EngineOptions::default() };
    Engine::new(options).unwrap()
});

pub(crate) fn limits() -> Limits {
    Limits {
        cpu_ms_max: 50,
        wall_ms_max: 500,
        memory_bytes_max: 4 << 20,
        handles_max: 40,
        contexts_max: 20,
        tensor_bytes_max: 1 << 20,
        ..Limits::default()
    }
}

pub(crate) fn grants() -> Grants {
    Grants { models: BTreeSet::from([MODEL.to_owned()]), load: true, ..Grants::default() }
}

struct Silent;

impl LogSink for Silent {
    fn line(&self, _: Stream, _: &str) {}
}

/// Sends the body, reads the answer, and checks that nothing is left. How the call ended is the
/// guest's own matter, as long as the host was not at fault.
pub(crate) fn call(deployment: &Deployment, body: &[u8]) {
    RUNTIME.block_on(async {
        let (echo, purse) = (Arc::new(Echo::new(&[MODEL])), Arc::new(Purse::new(1_000_000)));
        let body = Full::new(Bytes::copy_from_slice(body)).map_err(|never| match never {});
        let request = Request::post("/").header("host", "functions.test");
        let call = Call {
            request: request.body(body.boxed_unsync()).unwrap(),
            tenant: "org_fuzz".to_owned(),
            request_id: "req_fuzz".to_owned(),
            models: Arc::new(Metered::new(
                Arc::<Echo>::clone(&echo),
                Arc::<Purse>::clone(&purse),
                "org_fuzz".to_owned(),
            )),
            outbound: None,
            logs: Arc::new(Silent),
        };
        let report: Option<CallReport> = match deployment.call(call).await {
            Ok(answer) => {
                // One that breaks off is the guest's doing.
                answer.response.into_body().collect().await.ok();
                Some(answer.report.await)
            }
            Err(CallError::Fault(reason, _)) => panic!("{reason}"),
            // One call at a time: an instance that is taken was never given back.
            Err(CallError::Overloaded) => panic!("an instance is left"),
            Err(error) => error.report().cloned(),
        };
        let fault = report.map(|report| report.ending);
        assert!(!matches!(fault, Some(CallEnding::Fault(_))), "{fault:?}");
        assert_eq!((echo.open_sessions(), purse.reservations()), (0, 0));
    });
}
