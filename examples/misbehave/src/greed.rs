//! Takes more than its share.

use emberbox_sdk::{Error, Request, Response, json};
use std::hint::black_box;
use std::time::Duration;

/// Computes for ever.
pub(crate) fn spin() -> Result<Response, Error> {
    let mut number = 1_u64;
    loop {
        number = black_box(number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    }
}

/// Takes memory a mebibyte at a time, and writes to it so that it is really there.
pub(crate) fn hoard(request: &Request) -> Result<Response, Error> {
    const MIB: usize = 1 << 20;
    let gentle = request.query("gentle").is_some();
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        let mut block = Vec::new();
        if gentle && block.try_reserve_exact(MIB).is_err() {
            let mib = hoard.len();
            drop(hoard);
            return Response::json(&json!({ "mib": mib, "ended": "refused" }));
        }
        block.resize(MIB, 0xa5);
        hoard.push(black_box(block));
    }
}

/// Ends itself, in one of three ways.
pub(crate) fn trap(request: &Request) -> Result<Response, Error> {
    match request.query("how") {
        Some("index") => {
            let empty: &[u8] = black_box(&[]);
            Ok(Response::new(200).with_body(vec![empty[black_box(7)]]))
        }
        Some("recurse") => Ok(Response::text(recurse(black_box(0)).to_string())),
        _ => std::process::abort(),
    }
}

/// Calls itself again and again, and cannot be turned into a loop. Nothing of it lies in linear
/// memory: what it overflows is the machine's stack, which the host has to watch.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    if depth == u64::MAX {
        return depth;
    }
    recurse(depth + 1).rotate_left(7).wrapping_mul(depth | 1) ^ depth
}

/// Sends a few bytes now and then.
#[expect(clippy::disallowed_methods, reason = "sleeping is the misdeed")]
pub(crate) fn slow(request: &Request) -> Result<Response, Error> {
    let pieces: u32 = request.query_as("pieces")?.unwrap_or(1000);
    let pause = Duration::from_millis(request.query_as("ms")?.unwrap_or(100));
    let before = Duration::from_millis(request.query_as("before_ms")?.unwrap_or(0));
    std::thread::sleep(before);
    Ok(Response::stream((0..pieces).map(move |piece| {
        if piece > 0 {
            std::thread::sleep(pause);
        }
        format!("{piece}\n")
    })))
}

/// Writes long logs to both streams.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "writing logs is the misdeed")]
pub(crate) fn flood_logs(request: &Request) -> Result<Response, Error> {
    let lines: u32 = request.query_as("lines")?.unwrap_or(100_000);
    let width: usize = request.query_as("width")?.unwrap_or(100);
    let line = "x".repeat(width);
    for number in 0..lines {
        if number % 2 == 0 {
            println!("{number} {line}");
        } else {
            eprintln!("{number} {line}");
        }
    }
    Response::json(&json!({ "lines": lines }))
}

/// Sends many bytes.
pub(crate) fn big_response(request: &Request) -> Result<Response, Error> {
    const PIECE_BYTES: u64 = 64 << 10;
    let mib: u64 = request.query_as("mib")?.unwrap_or(1024);
    let pieces = mib.saturating_mul(1 << 20) / PIECE_BYTES;
    Ok(Response::stream((0..pieces).map(|_| vec![b'x'; PIECE_BYTES as usize])))
}
