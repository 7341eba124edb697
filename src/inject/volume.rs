//! The projected volume: configuration from the pod's own annotation, library from the namespace's ConfigMap.

use serde_json::{Value, json};

use crate::names::{CONFIG_FILE, LIBRARY_FILE, VOLUME, annotation};
use crate::routing::library;

/// The volume. A changed annotation reaches the running proxy in seconds, because the kubelet rewrites the file.
pub(super) fn volume() -> Value {
    let field = format!("metadata.annotations['{}']", annotation::PROXY_CONFIG);
    json!({
        "name": VOLUME,
        "projected": {"sources": [
            {"downwardAPI": {"items": [{"path": CONFIG_FILE, "fieldRef": {"fieldPath": field}}]}},
            {"configMap": {"name": library::config_map_name(), "items": [{"key": LIBRARY_FILE, "path": LIBRARY_FILE}]}},
        ]},
    })
}
