//! Looks for a way out of the sandbox, and tells what it found.

use emberbox_sdk::{Error, Response, json};
use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::{env, fs};

/// Files that say much about a machine.
const FILES: &[&str] =
    &["/", ".", "/etc/passwd", "/proc/self/environ", "/tmp", "emberbox.toml", "../ledger.db"];
/// Where something may listen: this machine, its neighbours, a cloud's metadata, the world.
const ADDRESSES: &[&str] =
    &["127.0.0.1:8080", "127.0.0.1:8081", "[::1]:8080", "169.254.169.254:80", "192.0.2.1:443"];

/// All of it, as one JSON object.
pub(crate) fn everything() -> Result<Response, Error> {
    let environment: BTreeMap<String, String> = env::vars_os()
        .map(|(name, value)| (name.display().to_string(), value.display().to_string()))
        .collect();
    let arguments: Vec<String> = env::args_os().map(|arg| arg.display().to_string()).collect();
    Response::json(&json!({
        "environment": environment,
        "arguments": arguments,
        "current_dir": outcome(env::current_dir().map(|dir| dir.display().to_string())),
        "read": FILES.iter().map(|path| (*path, outcome(read(path)))).collect::<BTreeMap<_, _>>(),
        "write": outcome(fs::write("/tmp/misbehave", "was here").map(|()| "written".to_owned())),
        "connect": ADDRESSES.iter().map(|to| (*to, outcome(connect(to)))).collect::<BTreeMap<_, _>>(),
        "listen": outcome(TcpListener::bind("0.0.0.0:0").map(|_| "listening".to_owned())),
        "udp": outcome(UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
            socket.send_to(b"misbehave", "192.0.2.1:53").map(|n| format!("sent {n} bytes"))
        })),
        "resolve": outcome("localhost:80".to_socket_addrs().map(|found| {
            format!("{:?}", found.collect::<Vec<_>>())
        })),
        "http": http::get("127.0.0.1:8081", "/metrics"),
    }))
}

/// What a probe came to: `{"ok": what}` if it found something, `{"error": why}` if not.
fn outcome(result: std::io::Result<String>) -> json::Value {
    match result {
        Ok(found) => json!({ "ok": found }),
        Err(error) => json!({ "error": error.to_string() }),
    }
}

/// A folder's entries or a file's size.
fn read(path: &str) -> std::io::Result<String> {
    if let Ok(entries) = fs::read_dir(path) {
        let names = entries.flatten().map(|entry| entry.file_name().display().to_string());
        return Ok(names.collect::<Vec<_>>().join(" "));
    }
    fs::read(path).map(|bytes| format!("{} bytes", bytes.len()))
}

fn connect(address: &str) -> std::io::Result<String> {
    TcpStream::connect(address).map(|_| "connected".to_owned())
}

#[cfg(not(target_arch = "wasm32"))]
mod http {
    //! A native build has no host to ask.
    use emberbox_sdk::{json, json::Value};

    pub(crate) fn get(_authority: &str, _path: &str) -> Value {
        json!({ "error": "outside Emberbox" })
    }
}

#[cfg(target_arch = "wasm32")]
mod http {
    //! An outgoing request through wasi:http.
    use emberbox_sdk::{host::wasip2, json, json::Value};
    use wasip2::http::outgoing_handler::handle;
    use wasip2::http::types::{Fields, OutgoingRequest, Scheme};

    pub(crate) fn get(authority: &str, path: &str) -> Value {
        match try_get(authority, path) {
            Ok(status) => json!({ "ok": format!("status {status}") }),
            Err(why) => json!({ "error": why }),
        }
    }

    fn try_get(authority: &str, path: &str) -> Result<u16, String> {
        let request = OutgoingRequest::new(Fields::new());
        let refused = |()| "the request was refused".to_owned();
        request.set_scheme(Some(&Scheme::Http)).map_err(refused)?;
        request.set_authority(Some(authority)).map_err(refused)?;
        request.set_path_with_query(Some(path)).map_err(refused)?;
        let response = handle(request, None).map_err(|code| format!("{code:?}"))?;
        response.subscribe().block();
        match response.get() {
            Some(Ok(Ok(response))) => Ok(response.status()),
            Some(Ok(Err(code))) => Err(format!("{code:?}")),
            _ => Err("there was no response".to_owned()),
        }
    }
}
