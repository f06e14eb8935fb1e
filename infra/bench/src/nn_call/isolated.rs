//! What it adds to a guest's call of a model that the guest, the server and the model are in three
//! processes: the same guest and the bundled model on two servers, in turns.

use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use super::{Options, median};
use crate::hello_http::ours::{self, Deployer};
use crate::load::Target;
use crate::process::Process;
use crate::row::{Format, Line, round};

const MODEL: &str = "tiny-storyteller";
/// What it may add in all; the first row is the part of it that the sandbox adds.
const TARGET_US: f64 = 60.0;
/// Calls of the model in a request: each computes a token.
const CALLS: u32 = 200;

#[derive(Debug, Serialize)]
struct Isolated {
    bench: &'static str,
    calls: u32,
    /// Microseconds of one call, on each server: most of it is the model's own.
    here_us: f64,
    isolated_us: f64,
    added_us: f64,
    target_us: f64,
    target_met: bool,
}

impl Line for Isolated {
    fn columns(&self) -> String {
        format!(
            "nn-call-isolated  here {} us  isolated {} us  added {} us (target {})",
            self.here_us, self.isolated_us, self.added_us, self.target_us
        )
    }
}

/// A server with the guest that calls many times, and the one that calls once.
struct Server {
    _process: Process,
    many: Target,
    once: Target,
}

impl Server {
    async fn start(data: &Path, isolated: bool) -> anyhow::Result<Self> {
        let (process, key) = match isolated {
            true => ours::serve_isolated(data, "unmetered").await?,
            false => ours::serve_with_model(data, "unmetered").await?,
        };
        let authorization = key.context("our server gave no key")?;
        let address = process.address;
        let deployer = Deployer { address, authorization: authorization.clone() };
        let models = format!("models = [\"{MODEL}\"]\n");
        let target = async |name: &str, calls: u32| {
            let path = deployer.deploy(name, &guest(calls)?, &models).await?;
            anyhow::Ok(Target { address, path, authorization: Some(authorization.clone()) })
        };
        let (many, once) = (target("many", CALLS).await?, target("once", 1).await?);
        Ok(Self { _process: process, many, once })
    }

    /// Microseconds of one call.
    async fn call_us(&self) -> anyhow::Result<f64> {
        let (many, once) = (self.many.timed().await?, self.once.timed().await?);
        Ok((many.as_secs_f64() - once.as_secs_f64()) * 1e6 / f64::from(CALLS - 1))
    }
}

/// Measures and prints the row.
pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let folder = tempfile::Builder::new().prefix("emberbox-bench-").tempdir()?;
    let here = Server::start(&folder.path().join("here"), false).await?;
    let isolated = Server::start(&folder.path().join("isolated"), true).await?;
    let (mut here_us, mut isolated_us) = (Vec::new(), Vec::new());
    for server in [&here, &isolated] {
        server.call_us().await?;
    }
    for _ in 0..options.rounds {
        here_us.push(here.call_us().await?);
        isolated_us.push(isolated.call_us().await?);
    }
    let (here_us, isolated_us) = (median(&mut here_us), median(&mut isolated_us));
    let added_us = isolated_us - here_us;
    Format::new(options.json).print(&Isolated {
        bench: "nn-call-isolated",
        calls: CALLS,
        here_us: round(here_us, 1),
        isolated_us: round(isolated_us, 1),
        added_us: round(added_us, 1),
        target_us: TARGET_US,
        target_met: added_us <= TARGET_US,
    })
}

/// A program that asks the model for a token so many times.
fn guest(calls: u32) -> anyhow::Result<Vec<u8>> {
    let text = format!(
        r#"(module
            (import "wasi_ephemeral_nn" "load_by_name_with_config"
                (func $load (param i32 i32 i32 i32 i32) (result i32)))
            (import "wasi_ephemeral_nn" "init_execution_context"
                (func $init (param i32 i32) (result i32)))
            (import "wasi_ephemeral_nn" "set_input" (func $set (param i32 i32 i32) (result i32)))
            (import "wasi_ephemeral_nn" "compute" (func $compute (param i32) (result i32)))
            (memory (export "memory") 1)
            (data (i32.const 0) "{MODEL}")
            (data (i32.const 32) "{{\"n-predict\": 1}}")
            (data (i32.const 64) "Once")
            ;; A tensor of that text.
            (data (i32.const 96)
                "\00\00\00\00\01\00\00\00\03\00\00\00\40\00\00\00\04\00\00\00")
            (func (export "_start") (local $left i32)
                (local.set $left (i32.const {calls}))
                (if (call $load (i32.const 0) (i32.const 16) (i32.const 32) (i32.const 16)
                        (i32.const 128))
                    (then unreachable))
                (if (call $init (i32.load (i32.const 128)) (i32.const 132)) (then unreachable))
                (if (call $set (i32.load (i32.const 132)) (i32.const 0) (i32.const 96))
                    (then unreachable))
                (loop $more
                    (if (call $compute (i32.load (i32.const 132))) (then unreachable))
                    (local.set $left (i32.sub (local.get $left) (i32.const 1)))
                    (br_if $more (local.get $left)))))"#
    );
    Ok(wat::parse_str(&text)?)
}
