//! Counts calls of gRPC, whichever service answers: how each ended stands in the trailers behind its answer.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use http_body::{Body, Frame, SizeHint};
use tonic::{
    Code,
    codegen::{Service, http},
};
use tower::Layer;

use crate::metrics::Calls;

/// Counts the calls of a service: a layer around it.
#[derive(Clone, Debug)]
pub struct CountCalls(pub Calls);

/// A service whose calls are counted.
#[derive(Clone, Debug)]
pub struct CallCounter<S> {
    inner: S,
    calls: Calls,
}

/// An answer that is counted when it ends.
#[derive(Debug)]
pub struct Counted<B> {
    inner: B,
    call: Call,
}

/// A call that is under way; when it is dropped without an end, nobody waited for that.
#[derive(Debug)]
struct Call {
    calls: Calls,
    method: String,
    began: Instant,
    ended: bool,
}

impl Call {
    fn end(&mut self, headers: Option<&http::HeaderMap>) {
        let code = headers.and_then(|headers| headers.get("grpc-status"));
        if let Some(code) = code.map(|code| Code::from_bytes(code.as_bytes())) {
            self.count(code);
        }
    }

    fn count(&mut self, code: Code) {
        if !std::mem::replace(&mut self.ended, true) {
            // What nobody answers to may be called anything.
            let method = if code == Code::Unimplemented { "unknown" } else { &self.method };
            self.calls.count(method, &format!("{code:?}"), self.began.elapsed());
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.count(Code::Cancelled);
    }
}

impl<S> Layer<S> for CountCalls {
    type Service = CallCounter<S>;

    fn layer(&self, inner: S) -> CallCounter<S> {
        CallCounter { inner, calls: self.0.clone() }
    }
}

impl<S, Q, B> Service<http::Request<Q>> for CallCounter<S>
where
    S: Service<http::Request<Q>, Response = http::Response<B>>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Counted<B>>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Q>) -> Self::Future {
        let method = request.uri().path().to_owned();
        let mut call = Call { calls: self.calls.clone(), method, began: Instant::now(), ended: false };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let (head, inner) = answer.await?.into_parts();
            // A refusal has nothing but a head.
            call.end(Some(&head.headers));
            Ok(http::Response::from_parts(head, Counted { inner, call }))
        })
    }
}

impl<B: Body + Unpin> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &frame {
            self.call.end(frame.trailers_ref());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
