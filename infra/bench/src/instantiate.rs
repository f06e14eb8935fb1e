//! A whole call of a guest that does nothing: a fresh store, its instance, the call, and the end of
//! both, with everything that the sandbox does around them. On one thread, one call after the other, so
//! that nothing waits for another thread to wake up. Beside it `hello`, which also reads a request and
//! answers it.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args;
use emberbox_runtime::{CallError, Deployment, Engine, EngineOptions, Grants, Limits};
use http_body_util::BodyExt;
use serde::Serialize;

use crate::in_process::{self, Free};
use crate::nn_call::{Nothing, median};
use crate::prebuilt;
use crate::row::{Format, Line, round};

const TARGET_US: f64 = 15.0;
/// A program that ends at once.
const EMPTY: &str = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
    /// Calls of each guest
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    calls: u32,
}

#[derive(Debug, Serialize)]
struct Instantiate {
    bench: &'static str,
    guest: &'static str,
    calls: u32,
    /// Microseconds of a whole call.
    median_us: f64,
    /// Of that the guest's polls, instantiation among them.
    guest_cpu_us: f64,
    /// Of the program, which does nothing but begin and end.
    #[serde(skip_serializing_if = "Option::is_none")]
    target_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    target_met: Option<bool>,
}

impl Line for Instantiate {
    fn columns(&self) -> String {
        format!(
            "instantiate  {:<24}  median {} us{}  {} of them in the guest's polls",
            self.guest,
            self.median_us,
            self.target_us.map(|target| format!(" (target {target})")).unwrap_or_default(),
            self.guest_cpu_us
        )
    }
}

/// Measures and prints a row for each guest.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let format = Format::new(options.json);
    let empty = wat::parse_str(EMPTY)?;
    let engine = Engine::new(EngineOptions::default())?;
    for (guest, upload, path) in [
        ("empty program", empty, "/"),
        ("component without answer", prebuilt::read("misbehave")?, "/no-response"),
        ("hello", prebuilt::read("hello")?, "/"),
    ] {
        let target_us = (guest == "empty program").then_some(TARGET_US);
        let limits = Limits::default();
        let deployment = Deployment::compile(&engine, &upload, limits, Grants::default())?;
        let calls = options.calls;
        // A runtime of its own, which has no other thread.
        let measured = std::thread::spawn(move || measure(&deployment, path, calls)).join();
        let (median_us, guest_cpu_us) = measured.ok().context("the measurement panicked")??;
        format.print(&Instantiate {
            bench: "instantiate",
            guest,
            calls,
            median_us: round(median_us, 1),
            guest_cpu_us: round(guest_cpu_us, 1),
            target_us,
            target_met: target_us.map(|target_us| median_us <= target_us),
        })?;
    }
    Ok(())
}

/// Medians of whole calls and of their guests' polls.
fn measure(guest: &Deployment, path: &str, calls: u32) -> anyhow::Result<(f64, f64)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut whole, mut polls) = (Vec::new(), Vec::new());
        for _ in 0..calls {
            let call = in_process::call(path, Arc::new(Nothing::default()), Arc::new(Free))?;
            let began = Instant::now();
            let report = match guest.call(call).await {
                Ok(answer) => {
                    ensure!(answer.response.status().is_success(), "the guest answered otherwise");
                    answer.response.into_body().collect().await?;
                    answer.report.await
                }
                Err(CallError::NoResponse(report)) => report,
                Err(error) => return Err(error).context("the guest failed"),
            };
            whole.push(began.elapsed().as_secs_f64() * 1e6);
            polls.push(report.cpu_us as f64);
        }
        Ok((median(&mut whole), median(&mut polls)))
    })
}
