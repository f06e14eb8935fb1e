//! A core module that is a WASI preview 1 command: the request's body is its standard input, its
//! standard output is the answer's body, and the rest of the request stands in its environment,
//! under the names of CGI (RFC 3875).

use std::sync::Arc;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, request};
use percent_encoding::percent_decode_str;
use wasmtime::{InstancePre, Store};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi::p1::WasiP1Ctx;

use super::limiter::Limiter;
use super::stdio::{Stdin, Stdout};
use super::{Bounds, HeadSender, Limited, wasi_of};
use crate::meter::Shared;
use crate::nn::CoreNn;
use crate::{Call, Grants, Limits, log};

/// A program's own name, which its first argument is.
const PROGRAM: &str = "function";

/// All that a request's store holds.
pub(crate) struct State {
    wasi: WasiP1Ctx,
    limiter: Limiter,
    nn: CoreNn,
    stdout: Stdout,
}

impl State {
    pub(crate) fn wasi(&mut self) -> &mut WasiP1Ctx {
        &mut self.wasi
    }

    pub(crate) fn nn(&mut self) -> &mut CoreNn {
        &mut self.nn
    }
}

impl Limited for State {
    fn limiter(&mut self) -> &mut Limiter {
        &mut self.limiter
    }
}

/// The store that a request will run in.
pub(crate) struct Guest {
    pre: InstancePre<State>,
    state: State,
}

impl Guest {
    pub(super) fn new(
        pre: &InstancePre<State>,
        call: Call,
        (limits, grants): (&Limits, &Grants),
        (shared, head): (Arc<Shared>, HeadSender),
    ) -> Self {
        let [_, stderr] = log::both(&call.logs, limits.log_bytes_max);
        let nn = CoreNn::new(&call, (limits, grants), (Arc::clone(&shared), stderr.clone()));
        let (parts, body) = call.request.into_parts();
        let stdout = Stdout::new(head);
        let mut wasi = wasi_of(grants);
        wasi.stdin(Stdin::new(body)).stdout(stdout.clone()).stderr(stderr);
        wasi.arg(PROGRAM).args(&grants.arguments);
        // What the author has set comes first, and no header of a client's takes its place.
        for (name, value) in metadata(&parts) {
            if !grants.claims(&name) {
                wasi.env(name, value);
            }
        }
        let limiter = Limiter::new(limits, shared);
        let state = State { wasi: wasi.build_p1(), limiter, nn, stdout };
        Self { pre: pre.clone(), state }
    }
}

/// Runs a request from its fresh store to the store's end.
pub(super) async fn run(guest: Guest, engine: &wasmtime::Engine, bounds: &Bounds) {
    let Guest { pre, state } = guest;
    let mut store = match bounds.store(engine, state) {
        Ok(store) => store,
        Err(error) => return bounds.fail(&error),
    };
    bounds.run(Box::pin(main(&mut store, &pre))).await;
    bounds.count_fuel(&mut store);
}

/// Runs the program to its end.
async fn main(store: &mut Store<State>, pre: &InstancePre<State>) -> wasmtime::Result<()> {
    let instance = pre.instantiate_async(&mut *store).await?;
    let start = instance.get_typed_func::<(), ()>(&mut *store, "_start")?;
    match start.call_async(&mut *store, ()).await {
        Err(error) if error.downcast_ref::<I32Exit>().is_none_or(|exit| exit.0 != 0) => Err(error),
        _ => {
            // A program that ends well without a word has given an empty answer.
            store.data().stdout.begin();
            Ok(())
        }
    }
}

/// The request's meta-variables (RFC 3875, section 4.1).
fn metadata(request: &request::Parts) -> Vec<(String, String)> {
    let uri = &request.uri;
    let header = |name: HeaderName| joined(&request.headers, &name).unwrap_or_default();
    let path = percent_decode_str(uri.path()).decode_utf8_lossy();
    let mut variables: Vec<(String, String)> = [
        ("GATEWAY_INTERFACE", "CGI/1.1".to_owned()),
        ("SERVER_PROTOCOL", format!("{:?}", request.version)),
        ("SERVER_SOFTWARE", concat!("emberbox/", env!("CARGO_PKG_VERSION")).to_owned()),
        ("SERVER_NAME", header(HOST)),
        ("REQUEST_METHOD", request.method.to_string()),
        ("REQUEST_URI", uri.to_string()),
        ("SCRIPT_NAME", String::new()),
        ("PATH_INFO", path.replace('\0', "")),
        ("QUERY_STRING", uri.query().unwrap_or_default().to_owned()),
        ("CONTENT_TYPE", header(CONTENT_TYPE)),
        ("CONTENT_LENGTH", header(CONTENT_LENGTH)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    for name in request.headers.keys() {
        // `HTTP_PROXY` is how many programs are told of a proxy (CVE-2016-5385).
        if [CONTENT_TYPE, CONTENT_LENGTH].contains(name) || name == "proxy" {
            continue;
        }
        if let Some(value) = joined(&request.headers, name) {
            let name = name.as_str().to_uppercase().replace('-', "_");
            variables.push((format!("HTTP_{name}"), value));
        }
    }
    variables
}

/// All values of a header; `None` where there is none that is text.
fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<&str> =
        headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn requests_stand_in_the_environment() {
        let request = Request::put("http://h:1/a%20b%00/c?q=%20")
            .header("host", "h:1")
            .header("content-type", "text/plain")
            .header("x-two", "1")
            .header("x-two", "2")
            .header("x-bytes", &b"\xff"[..])
            .header("proxy", "evil:1")
            .body(())
            .unwrap();
        let found = metadata(&request.into_parts().0);
        let of = |name: &str| {
            let values: Vec<_> = found.iter().filter(|(known, _)| known == name).collect();
            assert!(values.len() < 2, "{values:?}");
            values.first().map(|(_, value)| value.as_str())
        };
        for (name, value) in [
            ("REQUEST_METHOD", Some("PUT")),
            ("PATH_INFO", Some("/a b/c")),
            ("QUERY_STRING", Some("q=%20")),
            ("REQUEST_URI", Some("http://h:1/a%20b%00/c?q=%20")),
            ("CONTENT_TYPE", Some("text/plain")),
            ("CONTENT_LENGTH", Some("")),
            ("SERVER_PROTOCOL", Some("HTTP/1.1")),
            ("SERVER_NAME", Some("h:1")),
            ("HTTP_X_TWO", Some("1, 2")),
            ("HTTP_X_BYTES", None),
            ("HTTP_PROXY", None),
            ("HTTP_CONTENT_TYPE", None),
        ] {
            assert_eq!(of(name), value, "{name}");
        }
    }
}
