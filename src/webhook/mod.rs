//! The webhook: HTTP and TLS around the pure core.
//!
//! server.rs binds, routes and ends; mutate.rs and validate.rs answer; health.rs says how it is; pace.rs and shutdown.rs
//! close connections; metrics.rs counts.

mod app;
mod health;
pub mod metrics;
mod mutate;
mod pace;
pub mod server;
mod shutdown;
pub mod tls;
mod validate;

pub use app::{App, Readiness};
