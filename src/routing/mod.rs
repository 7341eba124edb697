//! What the proxy reads: the configuration (config.rs), data made for one pod, and the library (library.rs), the Lua that
//! gives it meaning, the same for all pods of a release. And what a controller has to know of what it does: where a key
//! lies (order.rs), and what the proxies tell each other (view.rs).

pub mod config;
pub mod config_map;
pub mod library;
pub mod order;
pub mod view;
