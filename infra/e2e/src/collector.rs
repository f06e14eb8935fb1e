//! A collector of traces: an HTTP server small enough to see through, which keeps what is posted.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::Context;

/// How long a batch of spans may take to arrive.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(30);
/// The largest batch that is kept.
const BODY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Batches that may wait to be looked at.
const QUEUE_MAX: usize = 256;

/// One request to the collector.
#[derive(Debug)]
pub(crate) struct Posted {
    /// The path, `/v1/traces` for spans.
    pub(crate) path: String,
    /// The body: protobuf, whose strings stand in it as they are.
    pub(crate) body: Vec<u8>,
}

/// A collector that listens on this machine until the program ends.
#[derive(Debug)]
pub(crate) struct Collector {
    /// Its address, to be given to the server.
    pub(crate) endpoint: String,
    posted: Receiver<Posted>,
}

impl Collector {
    /// Starts to listen.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let (sender, posted) = sync_channel(QUEUE_MAX);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                std::thread::spawn(move || connection(stream, &sender));
            }
        });
        Ok(Self { endpoint, posted })
    }

    /// The next batch, waited for.
    pub(crate) fn next(&self) -> anyhow::Result<Posted> {
        self.posted.recv_timeout(ARRIVAL_TIMEOUT).context("no batch of spans arrived")
    }
}

/// Serves one connection until it ends; what goes wrong on it ends it.
fn connection(stream: TcpStream, sender: &SyncSender<Posted>) {
    let Ok(reading) = stream.try_clone() else { return };
    let (mut reader, mut writer) = (BufReader::new(reading), stream);
    while let Ok(Some(posted)) = request(&mut reader) {
        let answered = writer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        if answered.is_err() || sender.send(posted).is_err() {
            return;
        }
    }
}

/// Reads one request, or none at the end of the connection.
fn request(reader: &mut impl BufRead) -> std::io::Result<Option<Posted>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = Vec::new();
    reader.take(length.min(BODY_BYTES_MAX)).read_to_end(&mut body)?;
    Ok(Some(Posted { path, body }))
}
