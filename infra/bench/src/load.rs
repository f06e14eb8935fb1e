//! The load: a closed loop over a number of connections. Each sends its next request when the
//! answer to the last has been read, so latency is never hidden by a queue in the client.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What is asked, again and again.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Where the server listens.
    pub(crate) address: SocketAddr,
    /// Path and query.
    pub(crate) path: String,
    /// The value of the `authorization` header, where there is one.
    pub(crate) authorization: Option<String>,
}

/// What one stretch of load gave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample {
    /// Answers per second.
    pub(crate) requests_per_s: f64,
    /// Half of the answers took no longer, in microseconds.
    pub(crate) p50_us: u64,
    /// 99 of 100 answers took no longer, in microseconds.
    pub(crate) p99_us: u64,
}

impl Target {
    /// Sends one request on a connection of its own and returns the answer's body.
    pub(crate) async fn once(&self) -> anyhow::Result<Bytes> {
        self.ask(&mut self.connect().await?).await
    }

    /// How long one request takes, on a connection of its own that is open already.
    pub(crate) async fn timed(&self) -> anyhow::Result<Duration> {
        let mut connection = self.connect().await?;
        let began = Instant::now();
        self.ask(&mut connection).await?;
        Ok(began.elapsed())
    }

    /// Asks over `connections` connections for `time`. Anything but a 200 ends the measurement:
    /// a server that refuses is fast, and its figure would say nothing.
    pub(crate) async fn load(&self, connections: usize, time: Duration) -> anyhow::Result<Sample> {
        let mut open = Vec::with_capacity(connections);
        for _ in 0..connections {
            open.push(self.connect().await?);
        }
        let began = Instant::now();
        let mut loops = JoinSet::new();
        for mut connection in open {
            let target = self.clone();
            loops.spawn(async move { target.ask_until(&mut connection, began + time).await });
        }
        let mut latencies_us = Vec::new();
        while let Some(finished) = loops.join_next().await {
            latencies_us.extend(finished??);
        }
        ensure!(!latencies_us.is_empty(), "no answer came within {time:?}");
        latencies_us.sort_unstable();
        Ok(Sample {
            requests_per_s: latencies_us.len() as f64 / began.elapsed().as_secs_f64(),
            p50_us: percentile(&latencies_us, 50),
            p99_us: percentile(&latencies_us, 99),
        })
    }

    /// Reads an answer with a pause before each piece of it, as far as it comes.
    pub(crate) async fn read_slowly(&self, pause: Duration) -> anyhow::Result<()> {
        let mut connection = self.connect().await?;
        let mut body = self.send(&mut connection).await?.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    async fn ask_until(
        &self,
        connection: &mut SendRequest<Full<Bytes>>,
        end: Instant,
    ) -> anyhow::Result<Vec<u64>> {
        let mut latencies_us = Vec::new();
        let mut now = Instant::now();
        while now < end {
            self.ask(connection).await?;
            let answered = Instant::now();
            latencies_us.push(u64::try_from((answered - now).as_micros()).unwrap_or(u64::MAX));
            now = answered;
        }
        Ok(latencies_us)
    }

    async fn ask(&self, connection: &mut SendRequest<Full<Bytes>>) -> anyhow::Result<Bytes> {
        let answer = self.send(connection).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        let said =
            || format!("{} answered {status}: {}", self.path, String::from_utf8_lossy(&body));
        ensure!(status == StatusCode::OK, said());
        Ok(body)
    }

    async fn send(
        &self,
        connection: &mut SendRequest<Full<Bytes>>,
    ) -> anyhow::Result<Response<Incoming>> {
        connection.ready().await?;
        let mut request = Request::builder().method(Method::GET).uri(&self.path);
        request = request.header("host", self.address.to_string());
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        Ok(connection.send_request(request.body(Full::default())?).await?)
    }

    async fn connect(&self) -> anyhow::Result<SendRequest<Full<Bytes>>> {
        connect(self.address).await
    }
}

/// Opens an HTTP/1.1 connection and drives it in a task of its own.
pub(crate) async fn connect(address: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await.with_context(|| address.to_string())?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // How the connection ends is seen by whoever waits for an answer on it.
    tokio::spawn(async move { connection.await.ok() });
    Ok(sender)
}

/// The value that `percent` of the sorted values do not exceed.
pub(crate) fn percentile(sorted: &[u64], percent: usize) -> u64 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles() {
        let hundred: Vec<u64> = (1..=100).collect();
        for (values, percent, expect) in [
            (&hundred[..], 50, 50),
            (&hundred[..], 99, 99),
            (&hundred[..], 100, 100),
            (&[7], 50, 7),
            (&[7, 9], 99, 9),
            (&[], 50, 0),
        ] {
            assert_eq!(percentile(values, percent), expect, "{percent} of {values:?}");
        }
    }
}
