//! memcached-injector: gives every pod that asks a memcached on localhost, backed by a cache that survives its servers.
//!
//! # The house, in the order in which data goes through it
//!
//! ```text
//! bytes -> admission::review -> decide -> inject -> admission::patch -> bytes      webhook: HTTP, TLS, metrics
//! YAML  -> manifest          -> decide -> inject -> YAML                           cli: one file a command
//! StatefulSets -> topology -> routing (data and Lua) -> inject                     controller: what runs beside
//! ```
//!
//! | module | owns |
//! |---|---|
//! | [`names`] | every name that users see |
//! | [`settings`] | what the operator sets |
//! | [`namespace`], [`pod`], [`qos`], [`quantity`] | what a decision reads |
//! | [`request`], [`unknown`] | what a pod asks for |
//! | [`decide`], [`feasibility`], [`reason`] | the rules, in order; every outcome's code, sentence and fix |
//! | [`topology`], [`routing`] | the cluster; what the proxy reads |
//! | [`resync`] | whether a cache server holds all that it should |
//! | [`inject`] | what is added to a pod |
//! | [`admission`], [`manifest`], [`offline`] | the two ways in and out: AdmissionReview, and YAML streams |
//! | [`certificate`] | the CA and the serving certificate |
//! | [`webhook`], [`controller`], [`memcached`], [`cli`] | everything that does I/O |
//!
//! Above the last line nothing knows tokio, kube or axum; tests/house.rs holds that.

pub mod names;
pub mod settings;

pub mod namespace;
pub mod pod;
pub mod qos;
pub mod quantity;

pub mod decide;
pub mod feasibility;
pub mod reason;
pub mod request;
pub mod unknown;

pub mod resync;
pub mod routing;
pub mod topology;

pub mod inject;

pub mod admission;
pub mod manifest;
pub mod offline;

pub mod certificate;

pub mod cli;
pub mod controller;
pub mod memcached;
pub mod webhook;
