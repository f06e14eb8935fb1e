use std::time::Instant as Clock;

use http::Request;
use http_body_util::{BodyExt, Empty};

use super::*;
use crate::artifact::Code;
use crate::echo::Echo;
use crate::models::Metered;
use crate::purse::Purse;
use crate::{Compiled, Engine, EngineOptions, LogSink, Stream};

struct Silent;

impl LogSink for Silent {
    fn line(&self, _: Stream, _: &str) {}
}

fn call() -> Call {
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let (bridge, spend) = (Arc::new(Echo::new(&[])), Arc::new(Purse::new(0)));
    Call {
        request: Request::new(body),
        tenant: "org".to_owned(),
        request_id: "req".to_owned(),
        models: Arc::new(Metered::new(bridge, spend, "org".to_owned())),
        outbound: None,
        logs: Arc::new(Silent),
    }
}

fn median(mut micros: Vec<f64>) -> f64 {
    micros.sort_by(f64::total_cmp);
    micros[micros.len() / 2]
}

/// A component's store, its instance, and the end of both, without a call.
#[tokio::test(flavor = "current_thread")]
#[ignore = "a measurement"]
async fn a_components_instance_alone() {
    let engine = Engine::new(EngineOptions::default()).unwrap();
    let hello = include_bytes!("../../../examples/prebuilt/hello.wasm");
    let compiled = Compiled::new(&engine, hello, Metering::Cpu).unwrap();
    let Code::Component(component) = &compiled.code else { panic!("a component") };
    let pre = engine.usual().components.instantiate_pre(component).and_then(ProxyPre::new).unwrap();
    let (limits, grants) = (Limits::default(), Grants::default());
    let (mut stores, mut instances, mut ends, mut all) = (vec![], vec![], vec![], vec![]);
    for _ in 0..20_000 {
        let call = call();
        let shared = Arc::new(Shared::default());
        let bounds = Bounds {
            limits: limits.clone(),
            models: Arc::clone(&call.models),
            deadline: Instant::now() + Duration::from_secs(60),
            shared: Arc::clone(&shared),
        };
        let began = Clock::now();
        let state = component::State::new(&call, (&limits, &grants), shared);
        let mut store = bounds.store(&engine.usual().wasmtime, state).unwrap();
        let stored = Clock::now();
        pre.instantiate_async(&mut store).await.unwrap();
        let made = Clock::now();
        drop(store);
        let ended = Clock::now();
        let micros = |from: Clock, to: Clock| to.duration_since(from).as_secs_f64() * 1e6;
        stores.push(micros(began, stored));
        instances.push(micros(stored, made));
        ends.push(micros(made, ended));
        all.push(micros(began, ended));
    }
    let [stores, instances, ends, all] = [stores, instances, ends, all].map(median);
    println!("store {stores:.1} us, instance {instances:.1}, end {ends:.1}, together {all:.1}");
}
