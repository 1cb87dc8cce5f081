//! Where Prometheus reads the numbers: HTTP, one answer for each connection, whatever is asked for.

use std::{convert::Infallible, io, net::SocketAddr, time::Duration};

use http_body_util::Full;
use hyper::{Response, header::CONTENT_TYPE, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tonic::codegen::Bytes;

use crate::metrics::Metrics;

/// More at the same time wait.
const CLIENTS: usize = 16;
/// A client that takes longer is left.
const PATIENCE: Duration = Duration::from_secs(10);

/// The address cannot be listened at. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
#[error("listen for Prometheus at {address}")]
pub struct EndpointError {
    /// Which.
    address: SocketAddr,
    /// The system's words.
    source: io::Error,
}

/// A listener for Prometheus.
#[derive(Debug)]
pub struct MetricsEndpoint {
    listener: TcpListener,
}

impl MetricsEndpoint {
    /// Listens.
    ///
    /// # Errors
    /// When the system refuses.
    pub async fn open(address: SocketAddr) -> Result<Self, EndpointError> {
        let listener =
            TcpListener::bind(address).await.map_err(|source| EndpointError { address, source })?;
        Ok(Self { listener })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// As the system has them.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers with what `text` returns, until it is dropped. Cancel safe: answers under way are dropped with it.
    pub async fn serve(self, metrics: Metrics, refresh: impl Fn(&Metrics)) -> Infallible {
        let mut answering = JoinSet::new();
        loop {
            if answering.len() >= CLIENTS {
                answering.join_next().await;
            }
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    refresh(&metrics);
                    answering.spawn(answer(stream, metrics.text()));
                }
                Err(error) => {
                    tracing::warn!(%error, "Prometheus cannot come in at the moment");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
            while answering.try_join_next().is_some() {}
        }
    }
}

async fn answer(stream: TcpStream, text: String) {
    let text = Bytes::from(text);
    let service = service_fn(|_| {
        let mut response = Response::new(Full::new(text.clone()));
        let kind = hyper::header::HeaderValue::from_static(
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        );
        response.headers_mut().insert(CONTENT_TYPE, kind);
        std::future::ready(Ok::<_, Infallible>(response))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(PATIENCE, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "Prometheus was not answered"),
        Err(_) => tracing::debug!("Prometheus took too long"),
    }
}
