use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use tower::{Layer, Service};

use super::{Request, Response};
use crate::app::App;

type Answered = BoxFuture<'static, Response>;

/// The rest of the stack, as a step sees it. It is called once or not at all.
pub(super) struct Next(Box<dyn FnOnce(Request) -> Answered + Send>);

impl Next {
    pub(super) async fn run(self, request: Request) -> Response {
        (self.0)(request).await
    }
}

/// A layer from an async function of the request and the rest of the stack.
#[derive(Clone)]
pub(super) struct Step<F> {
    app: Arc<App>,
    function: F,
}

pub(super) fn step<F, Answer>(app: &Arc<App>, function: F) -> Step<F>
where
    F: Fn(Arc<App>, Request, Next) -> Answer + Copy,
    Answer: Future<Output = Response> + Send + 'static,
{
    Step { app: Arc::clone(app), function }
}

impl<F: Copy, S> Layer<S> for Step<F> {
    type Service = StepService<F, S>;

    fn layer(&self, inner: S) -> StepService<F, S> {
        StepService { app: Arc::clone(&self.app), function: self.function, inner }
    }
}

#[derive(Clone)]
pub(super) struct StepService<F, S> {
    app: Arc<App>,
    function: F,
    inner: S,
}

impl<F, Answer, S> Service<Request> for StepService<F, S>
where
    F: Fn(Arc<App>, Request, Next) -> Answer,
    Answer: Future<Output = Response> + Send + 'static,
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    /// Always ready: whoever cannot serve now says so with a response, not by making others wait.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let mut inner = self.inner.clone();
        let next = Next(Box::new(move |request| {
            inner.call(request).map(|answer| answer.unwrap_or_else(|never| match never {})).boxed()
        }));
        (self.function)(Arc::clone(&self.app), request, next).map(Ok).boxed()
    }
}

/// The end of a stack, from an async function.
#[derive(Clone)]
pub(super) struct Endpoint<F> {
    app: Arc<App>,
    function: F,
}

pub(super) fn endpoint<F: Copy>(app: &Arc<App>, function: F) -> Endpoint<F> {
    Endpoint { app: Arc::clone(app), function }
}

impl<F, Answer> Service<Request> for Endpoint<F>
where
    F: Fn(Arc<App>, Request) -> Answer,
    Answer: Future<Output = Response> + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        (self.function)(Arc::clone(&self.app), request).map(Ok).boxed()
    }
}
