//! wasi:http in and out: reads the request, calls the handler, writes the response.

use crate::response::{Body, Chunks};
use crate::{Error, Request, Response};
use wasip2::http::types::{
    ErrorCode, Fields, IncomingBody, IncomingRequest, Method, OutgoingBody, OutgoingResponse,
    ResponseOutparam,
};
use wasip2::io::streams::{OutputStream, StreamError};

/// Bytes asked of the request's body at a time.
const READ_BYTES: u64 = 64 << 10;

/// Serves one request: what [`main!`](crate::main) expands to.
pub fn serve(
    request: IncomingRequest,
    answer: ResponseOutparam,
    body_bytes_max: usize,
    handle: impl FnOnce(Request) -> Result<Response, Error>,
) {
    let prepared = read(&request, body_bytes_max).and_then(handle).and_then(prepare);
    drop(request);
    match prepared.or_else(|error| prepare(refuse(&error))) {
        Ok(prepared) => send(prepared, answer),
        Err(error) => {
            ResponseOutparam::set(answer, Err(ErrorCode::InternalError(Some(error.to_string()))));
        }
    }
}

/// The answer to an error. What is the function's fault goes to its log too.
fn refuse(error: &Error) -> Response {
    if error.status() >= 500 {
        eprintln!("error: {error}");
    }
    Response::from(error)
}

fn read(request: &IncomingRequest, body_bytes_max: usize) -> Result<Request, Error> {
    let target = request.path_with_query().unwrap_or_default();
    let mut read = Request::new(method(&request.method()), &target);
    for (name, value) in request.headers().entries() {
        if let Ok(value) = std::str::from_utf8(&value) {
            read = read.with_header(&name, value);
        }
    }
    let announced = read.header("content-length").and_then(|length| length.parse::<u64>().ok());
    if announced.is_some_and(|length| length > body_bytes_max as u64) {
        return Err(too_large(body_bytes_max));
    }
    let body = request.consume().map_err(|()| Error::internal("the body was taken already"))?;
    Ok(read.with_body(read_body(&body, body_bytes_max)?))
}

fn method(method: &Method) -> &str {
    match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(name) => name,
    }
}

fn read_body(body: &IncomingBody, bytes_max: usize) -> Result<Vec<u8>, Error> {
    let stream = body.stream().map_err(|()| Error::internal("the body was taken already"))?;
    let mut bytes = Vec::new();
    loop {
        match stream.blocking_read(READ_BYTES) {
            Ok(chunk) if bytes.len() + chunk.len() > bytes_max => return Err(too_large(bytes_max)),
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(StreamError::Closed) => return Ok(bytes),
            Err(StreamError::LastOperationFailed(error)) => {
                let why = error.to_debug_string();
                return Err(Error::bad_request(format!("the body could not be read: {why}")));
            }
        }
    }
}

fn too_large(bytes_max: usize) -> Error {
    Error::TooLarge(format!("this function takes bodies up to {bytes_max} bytes"))
}

/// A response whose head is known to be valid and whose first bytes are at hand.
struct Prepared {
    head: OutgoingResponse,
    first: Vec<u8>,
    rest: Option<Chunks>,
}

fn prepare(response: Response) -> Result<Prepared, Error> {
    let (status, mut headers, body) = response.into_parts();
    let (first, rest) = match body {
        Body::Whole(bytes) => {
            if !bytes.is_empty() && headers.iter().all(|(name, _)| name != "content-length") {
                headers.push(("content-length".to_owned(), bytes.len().to_string()));
            }
            (bytes, None)
        }
        Body::Stream(mut chunks) => (chunks.next().transpose()?.unwrap_or_default(), Some(chunks)),
    };
    let fields = Fields::new();
    for (name, value) in &headers {
        fields.append(name, value.as_bytes()).map_err(|error| {
            Error::internal(format!("the function may not set the header {name:?}: {error:?}"))
        })?;
    }
    let head = OutgoingResponse::new(fields);
    head.set_status_code(status)
        .map_err(|()| Error::internal(format!("{status} is not an HTTP status")))?;
    Ok(Prepared { head, first, rest })
}

fn send(prepared: Prepared, answer: ResponseOutparam) {
    let Prepared { head, first, rest } = prepared;
    let body = head.body();
    ResponseOutparam::set(answer, Ok(head));
    let Ok(body) = body else { return };
    let written = match body.write() {
        Ok(stream) => write(&stream, &first, rest),
        Err(()) => return,
    };
    // A body that is dropped without `finish` reaches the caller as a cut connection.
    match written {
        Ok(()) => {
            if let Err(error) = OutgoingBody::finish(body, None) {
                eprintln!("error: the response could not be finished: {error:?}");
            }
        }
        Err(Stopped::CallerLeft) => {}
        Err(Stopped::Failed(error)) => eprintln!("error: the response was cut off: {error}"),
    }
}

/// Why a body was not written to its end.
enum Stopped {
    CallerLeft,
    Failed(Error),
}

impl From<StreamError> for Stopped {
    fn from(error: StreamError) -> Self {
        match error {
            StreamError::Closed => Self::CallerLeft,
            StreamError::LastOperationFailed(error) => {
                Self::Failed(Error::internal(error.to_debug_string()))
            }
        }
    }
}

fn write(stream: &OutputStream, first: &[u8], rest: Option<Chunks>) -> Result<(), Stopped> {
    write_all(stream, first)?;
    for chunk in rest.into_iter().flatten() {
        write_all(stream, &chunk.map_err(Stopped::Failed)?)?;
    }
    Ok(())
}

/// Writes as much at a time as the host allows, and flushes at the end.
fn write_all(stream: &OutputStream, mut bytes: &[u8]) -> Result<(), Stopped> {
    while !bytes.is_empty() {
        let allowed = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX);
        if allowed == 0 {
            stream.subscribe().block();
            continue;
        }
        let (now, later) = bytes.split_at(allowed.min(bytes.len()));
        stream.write(now)?;
        bytes = later;
    }
    Ok(stream.blocking_flush()?)
}
