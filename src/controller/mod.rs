//! What keeps the installation as it should be, one loop a file, and what the loops know, for the webhook to ask.
//!
//! clusters.rs and namespaces.rs watch; libraries.rs makes ConfigMaps; certificates.rs keeps the Secret, ca_bundle.rs
//! puts it where the API server looks.

mod ca_bundle;
pub mod certificates;
pub mod clusters;
pub mod libraries;
pub mod namespaces;
mod watch;
