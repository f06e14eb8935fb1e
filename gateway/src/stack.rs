//! What every request passes on its way in, and every response on its way out.

use std::convert::Infallible;
use std::sync::Arc;

use tower::ServiceBuilder;
use tower::util::BoxCloneSyncService;

use crate::app::App;
use crate::body::Body;
use crate::{admin, route};
use step::{endpoint, step};

/// Turns an async function into a tower layer.
mod step;
/// The layers themselves, in the order of the list below.
mod steps;

pub(crate) use steps::Arrival;

/// A request inside the gateway; its body is limited already.
pub(crate) type Request = http::Request<Body>;
/// A response inside the gateway.
pub(crate) type Response = http::Response<Body>;
/// A whole stack; a clone is another handle.
pub(crate) type Stack = BoxCloneSyncService<Request, Response, Infallible>;

/// The stack of the public listener.
pub(crate) fn public(app: &Arc<App>) -> Stack {
    let service = ServiceBuilder::new()
        // First, so that every later answer carries the id, refusals included.
        .layer(step(app, steps::request_id))
        // Outside everything that can refuse, so that refusals are measured too.
        .layer(step(app, steps::trace))
        // A panic is a bug of ours: it costs one request, never its neighbours.
        .layer(step(app, steps::catch_panic))
        // Before any work: a server that is full says so in microseconds.
        .layer(step(app, steps::shed))
        // Before anyone reads a body, so that no handler can forget its limit.
        .layer(step(app, steps::limit_body))
        // Innermost, and later than the deadline that calls keep for themselves: a backstop.
        .layer(step(app, steps::deadline))
        .service(endpoint(app, route::handle));
    BoxCloneSyncService::new(service)
}

/// The stack of the operator's listener: the same without shedding, because an operator must get
/// in when the server is full.
pub(crate) fn operator(app: &Arc<App>) -> Stack {
    let service = ServiceBuilder::new()
        .layer(step(app, steps::request_id))
        .layer(step(app, steps::catch_panic))
        .layer(step(app, steps::limit_body))
        .layer(step(app, steps::deadline))
        .service(endpoint(app, admin::handle));
    BoxCloneSyncService::new(service)
}
