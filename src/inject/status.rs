//! The status annotation: what was injected, for people and for whoever follows the pod later.

use serde_json::{Value, json};

use crate::decide::Plan;
use crate::routing::library;

/// Version, mode, cluster, ring epoch and library hash.
pub(super) fn status(plan: &Plan) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "mode": plan.request.mode.name().as_str(),
        "cluster": plan.backing.cluster.id.to_string(),
        "epoch": plan.backing.cluster.epoch,
        "library": library::library().hash,
    })
}
