//! A bare hyper server: the least that any Rust server can do for a request.

use std::convert::Infallible;

use bytes::Bytes;
use clap::Args;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::process::{announce, until_abandoned};

/// How the bare server runs.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What it answers, the same as the guest does.
    #[arg(long)]
    body: String,
}

/// Serves until standard input closes.
pub(crate) async fn serve(options: &Options) -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(&json!({ "address": listener.local_addr()? }));
    let body = Bytes::from(options.body.clone());
    tokio::select! {
        ended = until_abandoned() => ended,
        failed = accept(listener, body) => failed,
    }
}

async fn accept(listener: TcpListener, body: Bytes) -> anyhow::Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(connection(stream, body.clone()));
    }
}

async fn connection(stream: TcpStream, body: Bytes) {
    let service = service_fn(move |_: Request<hyper::body::Incoming>| {
        let answer = Response::new(Full::new(body.clone()));
        async move { Ok::<_, Infallible>(answer) }
    });
    // A connection that the load closes in the middle of a request is no error of the server.
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
}
