//! The ConfigMap that brings the library into a namespace. Immutable: its name is the hash of what is in it.

use serde_json::{Value, json};

use super::library;
use crate::names::LIBRARY_FILE;

/// The object as it belongs into `namespace`; without one it goes where its stream goes.
pub fn object(namespace: Option<&str>) -> Value {
    let mut object = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": library::config_map_name(),
            "labels": {
                "app.kubernetes.io/name": "memcached-proxy",
                "app.kubernetes.io/managed-by": "memcached-injector",
            },
        },
        "immutable": true,
        "data": {LIBRARY_FILE: library::library().text},
    });
    if let Some(namespace) = namespace {
        object["metadata"]["namespace"] = json!(namespace);
    }
    object
}
