//! A server that is asked to stop finishes what it began.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;

use crate::report::Report;
use crate::server::{Org, Server};
use crate::world::World;

/// Streams that run when the signal comes.
const STREAMS: usize = 8;
/// How long a stream may be silent.
const SILENCE_MAX: Duration = Duration::from_secs(60);

pub(super) fn run(world: &World, report: &mut Report) {
    report.check("drain/sigterm", || drain(world, ("drain", &[])));
}

/// Starts streams, asks the server to stop at the first byte of each, reads them to their end.
pub(super) fn drain(
    world: &World,
    (folder, settings): (&str, &[(&str, &str)]),
) -> anyhow::Result<String> {
    let home = world.folder(folder)?;
    let mut server = Server::start(world, &home, settings)?;
    let org = server.org("drain", Some("1"))?;
    let mut streams = Vec::new();
    for _ in 0..STREAMS {
        streams.push(open(&server, &org)?);
    }
    server.signal("TERM")?;
    for stream in &mut streams {
        let mut rest = String::new();
        stream.read_to_string(&mut rest).context("a stream was cut off")?;
        ensure!(
            rest.contains("\"finish_reason\":\"stop\"") || rest.contains("\"length\""),
            "{rest}"
        );
        ensure!(rest.contains("data: [DONE]"), "a stream ended early: {rest}");
    }
    let status = server.ended()?;
    ensure!(status.success(), "the server ended with {status}");
    let refused = TcpStream::connect(server.base.trim_start_matches("http://")).is_err();
    ensure!(refused, "the server still accepts connections");
    Ok(format!("{STREAMS} streams finished after SIGTERM, exit code 0"))
}

/// Opens a stream on a connection of its own and reads up to its first event.
fn open(server: &Server, org: &Org) -> anyhow::Result<BufReader<TcpStream>> {
    let body = json!({
        "model": "tiny-storyteller", "stream": true, "max_tokens": 200,
        "messages": [{ "role": "user", "content": "Tell me a story about a fox named Mia." }],
    });
    let body = body.to_string();
    let mut stream = TcpStream::connect(server.base.trim_start_matches("http://"))?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         authorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        org.api.secret(),
        body.len(),
    )?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while !line.starts_with("data: ") {
        line.clear();
        ensure!(reader.read_line(&mut line)? > 0, "the stream ended before its first event");
    }
    Ok(reader)
}
