//! Does what functions must not do, one path for each misdeed. The platform's tests call it and
//! watch that nobody else is harmed: that it is stopped, that it sees nothing, that it pays.

use emberbox_sdk::{Error, Request, Response};

mod fetch; //  sends requests of its own
mod greed; //  CPU, memory, stack, logs, bytes, time
mod model; //  lies to models, and spends more than it has
mod probe; //  looks for a way out of the sandbox
mod wire; //   speaks HTTP that it must not speak

const MISDEEDS: &str = "\
/spin                        computes for ever
/hoard                       takes memory until it is killed; ?gentle=1 asks politely, tells how much it got
/hoard-contexts              opens contexts on a model until it is refused; ?max=N
/trap                        aborts; ?how=index panics, ?how=recurse overflows the stack
/slow                        a piece now and then; ?pieces=N&ms=N&before_ms=N
/flood-logs                  writes logs; ?lines=N&width=N
/big-response                ?mib=N
/lie-shape                   gives a model tensors and options that are wrong, tells how each was refused
/overspend                   generates until it is refused, then tries on; ?calls=N
/load                        loads the request's body as a model and goes on with a text; ?times=N
/forge-headers               sets headers that are the platform's own; ?kind=hop or ?kind=crlf for worse ones
/lie-length                  announces another length than it sends; ?kind=short or ?kind=long
/no-response                 returns without an answer
/half                        fails in the middle of a response
/probe-env                   tells what it can see of the machine, of files, of the network
/fetch                       sends requests, tells how they went; ?url=URL&times=N&body_kib=N
/count                       tells how many times this instance was asked to; ?leave=context leaves one open
/echo                        tells what the platform let through of the request
";

#[cfg(target_arch = "wasm32")]
mod entry {
    use emberbox_sdk::BODY_BYTES_MAX;
    use emberbox_sdk::host::{serve, wasip2};
    use wasip2::http::types::{IncomingRequest, ResponseOutparam};

    struct Function;

    impl wasip2::exports::http::incoming_handler::Guest for Function {
        fn handle(request: IncomingRequest, answer: ResponseOutparam) {
            let target = request.path_with_query().unwrap_or_default();
            if !target.starts_with("/no-response") {
                serve(request, answer, BODY_BYTES_MAX, super::handle);
            }
        }
    }

    wasip2::http::proxy::export!(Function with_types_in wasip2);
}

/// Every misdeed but `/no-response`, which is done before the SDK is asked.
#[cfg_attr(
    not(any(test, target_arch = "wasm32")),
    expect(dead_code, reason = "natively only tests call it")
)]
fn handle(request: Request) -> Result<Response, Error> {
    match request.path() {
        "/" => Ok(Response::text(MISDEEDS)),
        "/spin" => greed::spin(),
        "/hoard" => greed::hoard(&request),
        "/trap" => greed::trap(&request),
        "/slow" => greed::slow(&request),
        "/flood-logs" => greed::flood_logs(&request),
        "/big-response" => greed::big_response(&request),
        "/hoard-contexts" => model::hoard_contexts(&request),
        "/lie-shape" => model::lie_shape(),
        "/overspend" => model::overspend(&request),
        "/load" => model::load(&request),
        "/forge-headers" => wire::forge_headers(&request),
        "/lie-length" => wire::lie_length(&request),
        "/half" => wire::half(),
        "/probe-env" => probe::everything(),
        "/fetch" => fetch::fetch(&request),
        "/count" => model::count(&request),
        "/echo" => wire::echo(&request),
        _ => Err(Error::not_found("GET / lists the misdeeds")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_complete() {
        let listed: Vec<&str> = MISDEEDS.lines().filter_map(|l| l.split(' ').next()).collect();
        let source = include_str!("lib.rs");
        let handled = source.lines().filter_map(|line| {
            let (path, _) = line.trim().strip_prefix("\"/")?.split_once("\" => ")?;
            (!path.is_empty()).then(|| format!("/{path}"))
        });
        let mut handled: Vec<String> = handled.chain(["/no-response".to_owned()]).collect();
        handled.sort();
        let mut listed: Vec<String> = listed.into_iter().map(str::to_owned).collect();
        listed.sort();
        assert_eq!(listed, handled);
    }

    #[test]
    fn asks_for_what_exists() {
        assert_eq!(handle(Request::get("/nothing")).unwrap_err().status(), 404);
        assert_eq!(handle(Request::get("/")).unwrap().into_bytes().unwrap(), MISDEEDS.as_bytes());
    }
}
