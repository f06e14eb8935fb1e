use wasip3::http::client;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use wasip3::wit_bindgen::{self, StreamReader};
use wasip3::{wit_future, wit_stream};

wasip3::http::service::export!(Misbehave);

/// What is written at once.
const PIECE: usize = 64 << 10;

struct Misbehave;

impl wasip3::exports::http::handler::Guest for Misbehave {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        match request.get_path_with_query().as_deref() {
            Some("/spin") => spin(),
            Some("/trap") => std::process::abort(),
            Some("/never") => never().await,
            Some("/error") => Err(ErrorCode::ConfigurationError),
            Some("/endless") => Ok(endless()),
            Some("/half") => Ok(half()),
            Some("/hoard") => Ok(hoard()),
            Some("/tasks") => Ok(tasks()),
            Some("/forge") => Ok(forge()),
            Some("/fetch") => fetch().await,
            _ => Err(ErrorCode::HttpRequestUriInvalid),
        }
    }
}

/// Computes for ever.
fn spin() -> ! {
    let mut number = 1_u64;
    loop {
        number = std::hint::black_box(number.wrapping_mul(3));
    }
}

/// Waits for what nobody says.
async fn never() -> Result<Response, ErrorCode> {
    let (writer, reader) = wit_future::new(|| Ok(None));
    drop(reader.await);
    drop(writer);
    Err(ErrorCode::InternalError(None))
}

/// An answer that never ends.
fn endless() -> Response {
    let (mut writer, body) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        while writer.write_all(vec![b'x'; PIECE]).await.is_empty() {}
    });
    answer(Fields::new(), body)
}

/// Traps in the middle of its answer.
fn half() -> Response {
    let (mut writer, body) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        drop(writer.write_all(b"half".to_vec()).await);
        std::process::abort();
    });
    answer(Fields::new(), body)
}

/// Takes memory until there is none.
fn hoard() -> Response {
    let mut taken = Vec::new();
    loop {
        taken.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

/// Streams without end.
fn tasks() -> Response {
    let mut kept = Vec::new();
    loop {
        kept.push(wit_stream::new::<u8>());
    }
}

/// Headers that only the platform may set.
fn forge() -> Response {
    let headers = Fields::new();
    for name in ["set-cookie", "x-emberbox-cost", "x-request-id"] {
        drop(headers.append(name, b"forged"));
    }
    let (mut writer, body) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        drop(writer.write_all(b"forged".to_vec()).await);
    });
    answer(headers, body)
}

/// A request to where it may not go.
async fn fetch() -> Result<Response, ErrorCode> {
    let (no_trailers, trailers) = wit_future::new(|| Ok(None));
    drop(no_trailers);
    let (request, _sent) = Request::new(Fields::new(), None, trailers, None);
    request.set_scheme(Some(&Scheme::Http)).ok();
    request.set_authority(Some("127.0.0.1:8081")).ok();
    request.set_path_with_query(Some("/metrics")).ok();
    client::send(request).await
}

fn answer(headers: Fields, body: StreamReader<u8>) -> Response {
    let (no_trailers, trailers) = wit_future::new(|| Ok(None));
    drop(no_trailers);
    Response::new(headers, Some(body), trailers).0
}
