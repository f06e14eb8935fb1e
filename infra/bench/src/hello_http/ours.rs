//! Our server, in a process of its own, as the gateway's library starts it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use clap::Args;
use emberbox::config::Config;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use serde_json::json;

use crate::load::{Target, connect};
use crate::process::{Process, announce, ourselves, until_abandoned};

/// The name that the function is deployed under.
const FUNCTION: &str = "hello";
/// How long connections may take to end once the benchmark is over.
const GRACE: Duration = Duration::from_secs(1);

/// How our server runs.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The data folder
    #[arg(long)]
    data: PathBuf,
    /// `metered` keeps the ledger, `unmetered` runs without one
    #[arg(long)]
    billing: String,
    /// With the bundled model
    #[arg(long)]
    model: bool,
    /// Functions and models in processes of their own
    #[arg(long)]
    isolate: bool,
}

/// Serves until standard input closes. Limits that would refuse the load are out of its way.
pub(crate) async fn serve(options: Options) -> anyhow::Result<()> {
    let settings = toml::toml! {
        listen = "127.0.0.1:0"
        admin_listen = "127.0.0.1:0"
        log = "off"
        key_limits.requests_per_minute_max = 2_000_000_000
        bootstrap.credits = "1000000"
    };
    let mut config = Config::parse(&settings.to_string(), [])?;
    config.data = options.data;
    config.inference.bundled_model = options.model;
    config.isolation.enabled = options.isolate;
    config.compiler.program = options.isolate.then(std::env::current_exe).transpose()?;
    config.billing = options.billing.parse().map_err(anyhow::Error::msg)?;
    let running = emberbox::start(config).await?;
    announce(&json!({ "address": running.public, "key": running.first_key }));
    until_abandoned().await?;
    running.shutdown(GRACE).await;
    Ok(())
}

/// Starts our server on a data folder; gives what its first start says to authorise with.
pub(crate) async fn serve_apart(
    data: &Path,
    billing: &str,
) -> anyhow::Result<(Process, Option<String>)> {
    serve_apart_with(data, billing, &[]).await
}

/// The same with the bundled model.
pub(crate) async fn serve_with_model(
    data: &Path,
    billing: &str,
) -> anyhow::Result<(Process, Option<String>)> {
    serve_apart_with(data, billing, &["--model"]).await
}

/// The same, with functions and models in processes of their own.
pub(crate) async fn serve_isolated(
    data: &Path,
    billing: &str,
) -> anyhow::Result<(Process, Option<String>)> {
    serve_apart_with(data, billing, &["--model", "--isolate"]).await
}

async fn serve_apart_with(
    data: &Path,
    billing: &str,
    more: &[&str],
) -> anyhow::Result<(Process, Option<String>)> {
    let data = data.to_str().context("the data folder's name is not UTF-8")?;
    let arguments = [&["serve-emberbox", "--data", data, "--billing", billing], more].concat();
    let (process, said) = ourselves(&arguments).await?;
    Ok((process, said["key"].as_str().map(|key| format!("Bearer {key}"))))
}

/// Starts our server on a data folder of its own, deploys the guest, and says what to ask.
pub(crate) async fn start(
    data: &Path,
    billing: &str,
    (component, manifest): (&[u8], &str),
) -> anyhow::Result<(Process, Target)> {
    let (process, authorization) = serve_apart(data, billing).await?;
    let authorization = authorization.context("our server gave no key")?;
    let deployer = Deployer { address: process.address, authorization };
    let path = deployer.deploy(FUNCTION, component, manifest).await?;
    let Deployer { address, authorization } = deployer;
    Ok((process, Target { address, path, authorization: Some(authorization) }))
}

/// Who uploads functions, and to where.
#[derive(Debug, Clone)]
pub(crate) struct Deployer {
    pub(crate) address: SocketAddr,
    pub(crate) authorization: String,
}

impl Deployer {
    /// Uploads a component, with more of a manifest, and returns the path of its address.
    pub(crate) async fn deploy(
        &self,
        name: &str,
        component: &[u8],
        more: &str,
    ) -> anyhow::Result<String> {
        let manifest =
            format!("[function]\nname = \"{name}\"\nmax_cost_per_call = \"0.001\"\n{more}");
        let request = Request::post(format!("/v1/functions/{name}/versions"))
            .header("host", self.address.to_string())
            .header("authorization", &self.authorization)
            .header("content-type", "application/wasm")
            .header("x-emberbox-manifest", BASE64.encode(manifest))
            .body(Full::new(Bytes::copy_from_slice(component)))?;
        let answer = connect(self.address).await?.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        let text = String::from_utf8_lossy(&body);
        anyhow::ensure!(status.is_success(), "deploying {name}: {status}: {text}");
        let deployed: serde_json::Value = serde_json::from_str(&text)?;
        let owner = deployed["owner"].as_str().context("the answer names no owner")?;
        Ok(format!("/f/{owner}/{name}/"))
    }
}
