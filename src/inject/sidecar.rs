//! The proxy: the container that the app talks to.

use serde_json::{Value, json};

use super::{Sidecar, loopback};
use crate::decide::Plan;
use crate::names::{CONFIG_FILE, LIBRARY_FILE, MOUNT_PATH, PROXY_CONTAINER, PROXY_ID, VOLUME};
use crate::request::{LocalPlace, Mode};
use crate::settings::Settings;

/// The proxy's container.
pub(super) fn container(plan: &Plan, settings: &Settings) -> Value {
    let request = &plan.request;
    let mut args = vec!["-l".into(), loopback(settings).into(), "-p".into(), request.port.to_string()];
    // One thread keeps one connection to each server; four (the default) would fill the servers' limit four times as fast.
    args.extend(["-t", "1"].map(String::from));
    if let Mode::Failover(local) = &request.mode
        && local.place == LocalPlace::Internal
    {
        args.extend(["-m".into(), local.memory_mb.to_string()]);
    }
    args.push("-o".into());
    args.push(format!("proxy_config={MOUNT_PATH}/{LIBRARY_FILE},proxy_arg={MOUNT_PATH}/{CONFIG_FILE}"));
    let sidecar =
        Sidecar { name: PROXY_CONTAINER, args, port: request.port, resources: plan.sizes.proxy, plan, settings };
    let mut container = sidecar.to_json();
    // By this name the proxy says on the cache servers which of them it knows; a ring changes when all pods do.
    container
        .insert("env".into(), json!([{"name": PROXY_ID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}]));
    // The directory, never a file in it: a subPath mount would not follow changes.
    container.insert("volumeMounts".into(), json!([{"name": VOLUME, "mountPath": MOUNT_PATH, "readOnly": true}]));
    Value::Object(container)
}
