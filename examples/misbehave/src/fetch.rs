//! Sends requests, as many as it is told to, wherever it is told to.

use emberbox_sdk::{Error, Request, Response, json};

/// Bytes of an answer's body that are told.
const TEXT_BYTES_MAX: usize = 200;

/// Tells for each request how it went: `status`, `bytes` and the first of them as `text`, or `error`.
pub(crate) fn fetch(request: &Request) -> Result<Response, Error> {
    let url = request.query("url").ok_or_else(|| Error::bad_request("?url= is missing"))?;
    let times: u32 = request.query_as("times")?.unwrap_or(1);
    let body_kib: usize = request.query_as("body_kib")?.unwrap_or(0);
    let outcomes: Vec<json::Value> = (0..times).map(|_| one(url, body_kib)).collect();
    Response::json(&json!(outcomes))
}

fn one(url: &str, body_kib: usize) -> json::Value {
    match wire::send(url, body_kib) {
        Ok((status, body)) => json!({
            "status": status,
            "bytes": body.len(),
            "text": String::from_utf8_lossy(body.get(..TEXT_BYTES_MAX).unwrap_or(&body)),
        }),
        Err(error) => json!({ "error": error }),
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod wire {
    pub(super) fn send(_url: &str, _body_kib: usize) -> Result<(u16, Vec<u8>), String> {
        Err("there is no wasi:http outside of WebAssembly".to_owned())
    }
}

#[cfg(target_arch = "wasm32")]
mod wire {
    use emberbox_sdk::host::wasip2;
    use wasip2::http::outgoing_handler::handle;
    use wasip2::http::types::{
        Fields, IncomingBody, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
    };
    use wasip2::io::streams::StreamError;

    pub(super) fn send(url: &str, body_kib: usize) -> Result<(u16, Vec<u8>), String> {
        let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
        let at = rest.find('/').unwrap_or(rest.len());
        let (authority, path) = rest.split_at(at);
        let scheme = match scheme {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            other => Scheme::Other(other.to_owned()),
        };
        let request = OutgoingRequest::new(Fields::new());
        request.set_scheme(Some(&scheme)).map_err(|()| "scheme")?;
        request.set_authority(Some(authority)).map_err(|()| "authority")?;
        request.set_path_with_query(Some(path)).map_err(|()| "path")?;
        if body_kib > 0 {
            request.set_method(&Method::Post).map_err(|()| "method")?;
        }
        let body = request.body().map_err(|()| "body")?;
        let answer = handle(request, None).map_err(|error| format!("{error:?}"))?;
        let stream = body.write().map_err(|()| "stream")?;
        for _ in 0..body_kib {
            // What nobody reads any more need not be written; the answer tells why.
            if stream.blocking_write_and_flush(&[b'x'; 1024]).is_err() {
                break;
            }
        }
        drop(stream);
        OutgoingBody::finish(body, None).ok();
        answer.subscribe().block();
        let response = answer.get().ok_or("no answer")?.map_err(|()| "taken")?;
        read(&response.map_err(|error| format!("{error:?}"))?)
    }

    fn read(response: &IncomingResponse) -> Result<(u16, Vec<u8>), String> {
        let incoming = response.consume().map_err(|()| "body")?;
        let stream = incoming.stream().map_err(|()| "stream")?;
        let mut bytes = Vec::new();
        loop {
            match stream.blocking_read(64 << 10) {
                Ok(more) => bytes.extend(more),
                Err(StreamError::Closed) => break,
                Err(StreamError::LastOperationFailed(error)) => return Err(error.to_debug_string()),
            }
        }
        drop(stream);
        drop(IncomingBody::finish(incoming));
        Ok((response.status(), bytes))
    }
}
