//! The local cache of failover mode: a small memcached of the pod's own, beside the proxy.

use serde_json::Value;

use super::{Sidecar, loopback};
use crate::decide::Plan;
use crate::feasibility;
use crate::names::LOCAL_CONTAINER;
use crate::request::{LocalPlace, Mode};
use crate::settings::Settings;

/// Its container, where the mode has one.
pub(super) fn container(plan: &Plan, settings: &Settings) -> Option<Value> {
    let Mode::Failover(local) = &plan.request.mode else {
        return None;
    };
    if local.place == LocalPlace::Internal {
        return None;
    }
    let port = feasibility::local_port(&plan.request);
    let mut args = vec!["-l".into(), loopback(settings).into(), "-p".into(), port.to_string()];
    // One thread: its only client is the proxy's one.
    args.extend(["-t".into(), "1".into(), "-m".into(), local.memory_mb.to_string()]);
    let sidecar = Sidecar { name: LOCAL_CONTAINER, args, port, resources: plan.sizes.local, plan, settings };
    Some(Value::Object(sidecar.to_json()))
}
