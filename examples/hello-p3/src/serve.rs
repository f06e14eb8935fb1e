use emberbox_sdk::{Error, Message, Model};
use wasip3::http::types::{ErrorCode, Fields, Method, Request, Response};
use wasip3::wit_bindgen::{self, StreamReader};
use wasip3::{wit_future, wit_stream};

wasip3::http::service::export!(Hello);

struct Hello;

impl wasip3::exports::http::handler::Guest for Hello {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let path = request.get_path_with_query().unwrap_or_default();
        match (request.get_method(), path.as_str()) {
            (Method::Get, "/") => Ok(text(200, "Hello, world!\n".to_owned())),
            (Method::Get, "/story") => Ok(match story() {
                Ok(story) => text(200, story),
                Err(error) => text(502, format!("{error}\n")),
            }),
            (Method::Post, "/") => {
                let (_sent, is_read) = wit_future::new(|| Ok(()));
                let (body, _trailers) = Request::consume_body(request, is_read);
                Ok(answer(200, body))
            }
            _ => Ok(text(404, "ask with GET /, GET /story, or POST something to /\n".to_owned())),
        }
    }
}

/// What the bundled model has to say. It stops this instance until it is there.
fn story() -> Result<String, Error> {
    let model = Model::load("tiny-storyteller")?;
    let ask = Message::user("Tell me a story about a fox named Mia.");
    Ok(model.generate(ask).max_tokens(40).temperature(0.0).complete()?.text)
}

/// A short answer, written while it is sent.
fn text(status: u16, text: String) -> Response {
    let (mut writer, body) = wit_stream::new();
    wit_bindgen::spawn_local(async move {
        // What nobody reads any more comes back.
        drop(writer.write_all(text.into_bytes()).await);
    });
    answer(status, body)
}

fn answer(status: u16, body: StreamReader<u8>) -> Response {
    let (no_trailers, trailers) = wit_future::new(|| Ok(None));
    drop(no_trailers);
    let (response, _sent) = Response::new(Fields::new(), Some(body), trailers);
    // Only a number that is no status is refused.
    response.set_status_code(status).ok();
    response
}
