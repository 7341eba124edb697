//! Binds, routes, bounds and ends. The answers themselves are in mutate.rs and validate.rs.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::post;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use prometheus_client::registry::Registry;
use tower_http::catch_panic::CatchPanicLayer;

use super::metrics::StatusLabels;
use super::pace::Pace;
use super::{App, Readiness, health, mutate, shutdown, validate};
use crate::admission::response::Response;
use crate::admission::review::ReviewError;

/// The API server stores up to 3 MB, and a review may hold an object twice.
pub const LARGEST_BODY: usize = 8 << 20;
/// The API server gives up after `timeoutSeconds: 5`; nobody reads an answer that comes later.
const LONGEST_REQUEST: Duration = Duration::from_secs(5);
/// A client that opens a connection and says nothing.
const LONGEST_HANDSHAKE: Duration = Duration::from_secs(10);
/// Requests in hand at once, so that memory is bounded whatever comes. One API server keeps far fewer under way.
const MOST_REQUESTS: usize = 64;

/// An answer on its way out.
pub(super) struct Answer(pub(super) Response);

impl IntoResponse for Answer {
    fn into_response(self) -> HttpResponse {
        match self.0.to_bytes() {
            Ok(bytes) => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
            Err(error) => BadRequest::from(error).into_response(),
        }
    }
}

/// A request that is no question: the HTTP status and the reason, as text, because the API server shows it to people.
#[derive(Debug)]
pub(super) struct BadRequest {
    status: StatusCode,
    reason: String,
}

impl BadRequest {
    /// With that status and reason.
    pub(super) fn new(status: StatusCode, reason: String) -> BadRequest {
        BadRequest { status, reason }
    }
}

impl From<ReviewError> for BadRequest {
    fn from(error: ReviewError) -> Self {
        BadRequest::new(StatusCode::BAD_REQUEST, error.to_string())
    }
}

/// An answer that can't be written down is our fault.
impl From<serde_json::Error> for BadRequest {
    fn from(error: serde_json::Error) -> Self {
        BadRequest::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
    }
}

impl IntoResponse for BadRequest {
    fn into_response(self) -> HttpResponse {
        tracing::warn!(status = self.status.as_u16(), reason = self.reason, "a request was refused");
        (self.status, format!("{}\n", self.reason)).into_response()
    }
}

/// The admission routes, bounded in size, time and number.
pub fn router(app: App) -> Router {
    let (panics, state) = (app.metrics.panics.clone(), (app.clone(), Arc::new(Pace::new())));
    let on_panic = move |_| {
        panics.inc();
        tracing::error!("a request met a bug; it was answered with 500");
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    };
    Router::new()
        .route("/inject", post(mutate::inject))
        .route("/inject/{label}", post(mutate::inject_labelled))
        .route("/validate/namespace", post(validate::namespace))
        .route("/validate/workload", post(validate::workload))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .layer(CatchPanicLayer::custom(on_panic))
        .layer(middleware::from_fn_with_state(state, bounded))
        .layer(tower::limit::GlobalConcurrencyLimitLayer::new(MOST_REQUESTS))
        .with_state(app)
}

/// Bounds the time, counts what was refused, and closes the connection where keeping it would cost more.
async fn bounded(State((app, pace)): State<(App, Arc<Pace>)>, request: Request, next: Next) -> HttpResponse {
    let timeout = || BadRequest::new(StatusCode::REQUEST_TIMEOUT, "no answer within 5 seconds".to_owned());
    let mut response = match tokio::time::timeout(LONGEST_REQUEST, next.run(request)).await {
        Ok(response) => response,
        Err(_) => timeout().into_response(),
    };
    if !response.status().is_success() {
        let status = response.status().as_u16();
        app.metrics.bad_requests.get_or_create(&StatusLabels { status }).inc();
    }
    if !pace.keep() || app.readiness.is_closing() {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Serves health until the end.
///
/// # Errors
/// When the port can't be had.
pub fn serve_health(address: SocketAddr, readiness: Readiness, registry: Registry) -> anyhow::Result<()> {
    let listener = bind("health", address)?;
    let routes = health::router(readiness, registry);
    let server = axum_server::from_tcp(listener).context("health listener")?;
    tokio::spawn(server.serve(routes.into_make_service()));
    Ok(())
}

/// Takes the port for admission; who connects before it is served waits.
///
/// # Errors
/// When the port can't be had.
pub fn bind_admission(address: SocketAddr) -> anyhow::Result<TcpListener> {
    bind("admission", address)
}

/// Serves admission until the process is told to end, and for `shutdown_delay` after that.
///
/// # Errors
/// When signals can't be listened for.
pub async fn serve_admission(
    listener: TcpListener,
    app: App,
    tls: RustlsConfig,
    shutdown_delay: Duration,
) -> anyhow::Result<()> {
    let handle = Handle::new();
    let server = axum_server::from_tcp_rustls(listener, tls)
        .context("admission listener")?
        .map(|acceptor| acceptor.handshake_timeout(LONGEST_HANDSHAKE))
        .first_request_timeout(LONGEST_HANDSHAKE)
        .handle(handle.clone());
    let readiness = app.readiness.clone();
    let serving = tokio::spawn(server.serve(router(app).into_make_service()));
    readiness.set_serving();
    shutdown::requested(&readiness, shutdown_delay).await?;
    handle.graceful_shutdown(Some(shutdown::LAST_REQUESTS));
    serving.await.context("the admission server ended by a bug")?.context("the admission server ended")?;
    tracing::info!("ended");
    Ok(())
}

/// Says where it listens, in a line that a program can read: the port may have been 0.
fn bind(listener: &'static str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let socket = TcpListener::bind(address).with_context(|| format!("can't listen on {address} for {listener}"))?;
    socket.set_nonblocking(true)?;
    tracing::info!(listener, address = %socket.local_addr()?, "listening");
    Ok(socket)
}
