//! The status annotation: what was injected, for people and for whoever follows the pod later.

use serde_json::{Value, json};

use crate::decide::Plan;
use crate::routing::{config, library};

/// Version, mode, cluster, ring epoch, library hash and the newest configuration format that the library reads.
pub(super) fn status(plan: &Plan) -> Value {
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "mode": plan.request.mode.name().as_str(),
        "cluster": plan.backing.cluster.id.to_string(),
        "epoch": plan.backing.cluster.epoch,
        "library": library::library().hash,
        "format": config::NEWEST,
    })
}
