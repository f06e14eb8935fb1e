use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};

use bytes::Bytes;
use emberbox_runtime::bridge::Bridge;
use emberbox_runtime::models::{Metered, Models};
use emberbox_runtime::spend::Spend;
use emberbox_runtime::{
    Answer, BodyError, Call, CallError, CallReport, Deployment, Engine, EngineOptions, Grants,
    Limits, LogSink, RequestBody, Stream,
};
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Full};

use crate::echo::Echo;
use crate::purse::Purse;

pub(crate) static ENGINE: LazyLock<Engine> =
    LazyLock::new(|| Engine::new(EngineOptions::default()).expect("engine"));

static HELLO: LazyLock<Deployment> = LazyLock::new(|| prebuilt("hello"));
static MISBEHAVE: LazyLock<Deployment> = LazyLock::new(|| prebuilt("misbehave"));
static STORYTELLER: LazyLock<Deployment> = LazyLock::new(|| prebuilt("storyteller"));
static SEARCH: LazyLock<Deployment> = LazyLock::new(|| prebuilt("semantic-search"));

/// The model that the example guests name.
pub(crate) const MODEL: &str = "tiny-storyteller";

fn prebuilt(name: &str) -> Deployment {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/prebuilt");
    let component = std::fs::read(folder.join(format!("{name}.wasm"))).expect("prebuilt guest");
    Deployment::compile(&ENGINE, &component, Limits::default(), Grants::default()).expect(name)
}

pub(crate) fn hello() -> Deployment {
    HELLO.clone()
}

pub(crate) fn misbehave(limits: Limits) -> Deployment {
    MISBEHAVE.with(limits, grants()).expect("limits")
}

pub(crate) fn storyteller(limits: Limits) -> Deployment {
    STORYTELLER.with(limits, grants()).expect("limits")
}

pub(crate) fn search(grants: Grants) -> Deployment {
    SEARCH.with(Limits::default(), grants).expect("limits")
}

pub(crate) fn grants() -> Grants {
    Grants {
        models: BTreeSet::from([MODEL.to_owned()]),
        environment: BTreeMap::from([("PLAIN".to_owned(), "a plain value".to_owned())]),
        ..Grants::default()
    }
}

/// One call's surroundings, to look into afterwards.
pub(crate) struct World {
    pub(crate) bridge: Arc<Echo>,
    pub(crate) purse: Arc<Purse>,
    pub(crate) logs: Arc<Lines>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_tokens(1_000_000)
    }

    pub(crate) fn with_tokens(tokens: u64) -> Self {
        Self {
            bridge: Arc::new(Echo::new(&[MODEL])),
            purse: Arc::new(Purse::new(tokens)),
            logs: Arc::new(Lines::default()),
        }
    }

    /// These models, paid from the purse.
    pub(crate) fn models(&self, bridge: Arc<dyn Bridge>) -> Arc<dyn Models> {
        let purse = Arc::clone(&self.purse) as Arc<dyn Spend>;
        Arc::new(Metered::new(bridge, purse, "org_test".to_owned()))
    }

    /// The world's models, paid from elsewhere.
    pub(crate) fn models_paid(&self, spend: Arc<dyn Spend>) -> Arc<dyn Models> {
        let bridge = Arc::clone(&self.bridge) as Arc<dyn Bridge>;
        Arc::new(Metered::new(bridge, spend, "org_test".to_owned()))
    }

    pub(crate) fn call(&self, request: Request<RequestBody>) -> Call {
        Call {
            request,
            tenant: "org_test".to_owned(),
            request_id: "req_test".to_owned(),
            models: self.models(Arc::clone(&self.bridge) as Arc<dyn Bridge>),
            outbound: None,
            logs: Arc::clone(&self.logs) as Arc<dyn LogSink>,
        }
    }

    pub(crate) async fn get(&self, deployment: &Deployment, path: &str) -> Outcome {
        outcome(deployment.call(self.call(get(path))).await).await
    }
}

pub(crate) fn get(path: &str) -> Request<RequestBody> {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    Request::get(path).header("host", "functions.test").body(body).expect("request")
}

pub(crate) fn post(path: &str, body: &str) -> Request<RequestBody> {
    let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
    let body = body.map_err(|never| match never {}).boxed_unsync();
    Request::post(path).header("host", "functions.test").body(body).expect("request")
}

/// How a call went, seen from the client.
#[derive(Debug)]
pub(crate) enum Outcome {
    Answered(Whole),
    Failed(CallError),
}

/// A whole answer, or as much of it as came.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) cut: Option<BodyError>,
    pub(crate) report: CallReport,
}

pub(crate) async fn outcome(answer: Result<Answer, CallError>) -> Outcome {
    let Answer { response, report } = match answer {
        Ok(answer) => answer,
        Err(error) => return Outcome::Failed(error),
    };
    let (head, mut guest) = response.into_parts();
    let mut body = Vec::new();
    let mut cut = None;
    while let Some(frame) = guest.frame().await {
        match frame {
            Ok(frame) => body.extend_from_slice(frame.data_ref().expect("data")),
            Err(error) => cut = Some(error),
        }
    }
    let report = report.await;
    Outcome::Answered(Whole { status: head.status, headers: head.headers, body, cut, report })
}

impl Outcome {
    pub(crate) fn answered(self) -> Whole {
        match self {
            Self::Answered(whole) => whole,
            Self::Failed(error) => panic!("no answer: {error:?}"),
        }
    }

    pub(crate) fn failed(self) -> CallError {
        match self {
            Self::Failed(error) => error,
            Self::Answered(whole) => panic!("answered: {whole:?}"),
        }
    }
}

impl Whole {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// Log lines as they came.
#[derive(Default)]
pub(crate) struct Lines(Mutex<Vec<(Stream, String)>>);

impl Lines {
    pub(crate) fn all(&self) -> Vec<(Stream, String)> {
        self.0.lock().expect("lines").clone()
    }
}

impl LogSink for Lines {
    fn line(&self, stream: Stream, line: &str) {
        self.0.lock().expect("lines").push((stream, line.to_owned()));
    }
}
