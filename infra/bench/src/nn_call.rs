//! A guest's call of a model that does nothing, beside the same call made directly: what the sandbox
//! and the host of `wasi_ephemeral_nn` add.
//!
//! The guest computes many times in one context, and once; the difference, over the number, is one
//! call. Both take turns; of the rounds the median counts.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, ensure};
use async_trait::async_trait;
use clap::Args;
use emberbox_runtime::bridge::{
    Bridge, BridgeError, Event, FinishReason, ModelInfo, ModelKind, Open, Plan, Prompt, SessionId,
    Task, Usage,
};
use emberbox_runtime::{Deployment, Engine, EngineOptions, Grants, Limits};
use http_body_util::BodyExt;
use serde::Serialize;

use crate::in_process::{self, Free};
use crate::row::{Format, Line, round};

/// The same through a server whose functions and models are in processes of their own.
mod isolated;

const MODEL: &str = "nothing";
const TARGET_US: f64 = 15.0;

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Calls of the model in a round
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(2..=10_000_000))]
    calls: u32,
    /// Rounds; the median of them is reported
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
}

#[derive(Debug, Serialize)]
struct NnCall {
    bench: &'static str,
    calls: u32,
    /// Microseconds of one call, through the guest and directly.
    guest_us: f64,
    direct_us: f64,
    added_us: f64,
    target_us: f64,
    target_met: bool,
}

impl Line for NnCall {
    fn columns(&self) -> String {
        format!(
            "nn-call  guest {} us  direct {} us  added {} us (target {})",
            self.guest_us, self.direct_us, self.added_us, self.target_us
        )
    }
}

/// Measures and prints both rows.
pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    here(options).await?;
    isolated::run(options).await
}

/// The sandbox and the model in this process.
async fn here(options: &Options) -> anyhow::Result<()> {
    let many = deploy(options.calls)?;
    let once = deploy(1)?;
    let (mut guest, mut direct) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        let calls = f64::from(options.calls);
        direct.push(directly(options.calls).await? / calls);
        guest.push((through(&many).await? - through(&once).await?) / (calls - 1.0));
    }
    let (guest_us, direct_us) = (median(&mut guest), median(&mut direct));
    let added_us = guest_us - direct_us;
    Format::new(options.json).print(&NnCall {
        bench: "nn-call",
        calls: options.calls,
        guest_us: round(guest_us, 2),
        direct_us: round(direct_us, 2),
        added_us: round(added_us, 2),
        target_us: TARGET_US,
        target_met: added_us <= TARGET_US,
    })
}

pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// A program that asks the model so many times, and reads each answer.
fn deploy(calls: u32) -> anyhow::Result<Deployment> {
    let text = format!(
        r#"(module
            (import "wasi_ephemeral_nn" "load_by_name" (func $load (param i32 i32 i32) (result i32)))
            (import "wasi_ephemeral_nn" "init_execution_context" (func $init (param i32 i32) (result i32)))
            (import "wasi_ephemeral_nn" "set_input" (func $set (param i32 i32 i32) (result i32)))
            (import "wasi_ephemeral_nn" "compute" (func $compute (param i32) (result i32)))
            (import "wasi_ephemeral_nn" "get_output"
                (func $get (param i32 i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "{MODEL}")
            (func (export "_start") (local $left i32)
                (local.set $left (i32.const {calls}))
                (i32.store (i32.const 112) (i32.const 0))
                (i32.store (i32.const 116) (i32.const 7))
                (if (call $load (i32.const 0) (i32.const 7) (i32.const 64)) (then unreachable))
                (if (call $init (i32.load (i32.const 64)) (i32.const 68)) (then unreachable))
                (if (call $set (i32.load (i32.const 68)) (i32.const 0) (i32.const 100))
                    (then unreachable))
                (loop $more
                    (if (call $compute (i32.load (i32.const 68))) (then unreachable))
                    (if (call $get (i32.load (i32.const 68)) (i32.const 0) (i32.const 1024)
                            (i32.const 1024) (i32.const 72))
                        (then unreachable))
                    (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                    (br_if $more (local.get $left)))))"#
    );
    let engine = Engine::new(EngineOptions { pooling: false, ..EngineOptions::default() })?;
    let hour_ms = 3_600_000;
    let limits = Limits { wall_ms_max: hour_ms, cpu_ms_max: hour_ms, ..Limits::default() };
    let grants = Grants { models: BTreeSet::from([MODEL.to_owned()]), ..Grants::default() };
    Ok(Deployment::compile(&engine, &wat::parse_str(&text)?, limits, grants)?)
}

/// Microseconds of one request.
async fn through(guest: &Deployment) -> anyhow::Result<f64> {
    let call = in_process::call("/", Arc::new(Nothing::default()), Arc::new(Free))?;
    let began = Instant::now();
    let answer = guest.call(call).await.context("the guest failed")?;
    ensure!(answer.response.status().is_success(), "the guest answered otherwise");
    answer.response.into_body().collect().await?;
    let report = answer.report.await;
    ensure!(report.detail.is_none(), "the guest ended with {report:?}");
    Ok(began.elapsed().as_secs_f64() * 1e6)
}

/// Microseconds of all calls, made as the host makes them.
async fn directly(calls: u32) -> anyhow::Result<f64> {
    let bridge: Arc<dyn Bridge> = Arc::new(Nothing::default());
    let session =
        bridge.open(Open { model: MODEL.to_owned(), tenant: "org_bench".to_owned() }).await?;
    let began = Instant::now();
    for _ in 0..calls {
        let prompt = Prompt::Text(MODEL.to_owned());
        bridge.prepare(session, Task::Generate { prompt, options: Default::default() }).await?;
        bridge.submit(session).await?;
        while !matches!(bridge.next(session).await?, Event::Done { .. }) {}
    }
    Ok(began.elapsed().as_secs_f64() * 1e6)
}

/// A model that says one word at once.
#[derive(Default)]
pub(crate) struct Nothing {
    /// What each session has still to say.
    sessions: Mutex<HashMap<u64, u32>>,
}

impl Nothing {
    fn set(&self, session: SessionId, pieces: u32) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(session.0, pieces);
    }
}

#[async_trait]
impl Bridge for Nothing {
    async fn open(&self, _: Open) -> Result<SessionId, BridgeError> {
        Ok(SessionId(1))
    }

    async fn bring(&self, _: bytes::Bytes) -> Result<ModelInfo, BridgeError> {
        Err(BridgeError::Failed)
    }

    async fn prepare(&self, _: SessionId, _: Task) -> Result<Plan, BridgeError> {
        Ok(Plan { input_tokens: 1, output_tokens_max: 1 })
    }

    async fn submit(&self, session: SessionId) -> Result<(), BridgeError> {
        self.set(session, 1);
        Ok(())
    }

    async fn next(&self, session: SessionId) -> Result<Event, BridgeError> {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let left = sessions.entry(session.0).or_default();
        if *left == 0 {
            let usage = self.usage(session);
            return Ok(Event::Done { finish_reason: FinishReason::Stop, usage });
        }
        *left -= 1;
        Ok(Event::Piece { text: "word".to_owned(), tokens: vec![1], logprobs: Vec::new() })
    }

    fn cancel(&self, session: SessionId) {
        self.set(session, 0);
    }

    fn close(&self, session: SessionId) {
        self.set(session, 0);
    }

    fn usage(&self, _: SessionId) -> Usage {
        Usage { input_tokens: 1, output_tokens: 1, ..Usage::default() }
    }

    fn model(&self, name: &str) -> Option<ModelInfo> {
        Some(ModelInfo {
            name: name.to_owned(),
            kind: ModelKind::Generation,
            architecture: "nothing".to_owned(),
            parameters: 0,
            context_length: 1_000,
            embedding_dims: 1,
            weight_bytes: 0,
            quantisation: "F32".to_owned(),
            digest: String::new(),
            chat_template: false,
            inputs: Vec::new(),
            outputs: Vec::new(),
        })
    }
}
