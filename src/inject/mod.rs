//! What an injection adds to a pod: a patch of `add` operations, and nothing that is not needed.
//!
//! Owns the order of what is added; each part has a file of its own. Whether to inject is decided before (decide.rs).

mod local_cache;
pub mod resources;
mod sidecar;
mod status;
mod volume;

use serde_json::{Map, Value, json};

use crate::admission::patch::Additions;
use crate::decide::Plan;
use crate::names::{annotation, label};
use crate::routing;
use crate::settings::Settings;

/// The patch that gives `pod` what `plan` says. Applied twice it is refused by the second decision, not here.
pub fn patch(pod: &Value, plan: &Plan, settings: &Settings) -> json_patch::Patch {
    let mut additions = Additions::to(pod);
    additions.entries(
        ["metadata", "annotations"],
        [
            (annotation::PROXY_CONFIG, json!(routing::config::render(&plan.request, &plan.backing))),
            (annotation::STATUS, json!(status::status(plan).to_string())),
        ],
    );
    additions.entries(["metadata", "labels"], [(label::INJECTED, json!("true"))]);
    // First in the list, so that the app's own init containers have a cache too; the local cache before the proxy.
    let mut sidecars = vec![sidecar::container(plan, settings)];
    if let Some(local) = local_cache::container(plan, settings) {
        sidecars.insert(0, local);
    }
    additions.first_items(["spec", "initContainers"], sidecars);
    additions.last_item(["spec", "volumes"], volume::volume());
    additions.into_patch()
}

/// What every container of ours has in common.
struct Sidecar<'a> {
    name: &'static str,
    args: Vec<String>,
    port: u16,
    resources: resources::ContainerResources,
    plan: &'a Plan,
    settings: &'a Settings,
}

impl Sidecar<'_> {
    /// A native sidecar: an init container that goes on running, starts before the app and outlives it.
    fn to_json(&self) -> Map<String, Value> {
        let mut container = Map::new();
        let mut field = |name: &str, value: Value| container.insert(name.to_owned(), value);
        field("name", json!(self.name));
        field("image", json!(self.plan.request.image));
        field("restartPolicy", json!("Always"));
        // Named, so that any image with memcached on its PATH will do, whatever its entrypoint.
        field("command", json!(["memcached"]));
        field("args", json!(self.args));
        field("startupProbe", startup_probe(self.port));
        if let Some(resources) = self.resources.to_json() {
            field("resources", resources);
        }
        field("securityContext", security_context(self.settings));
        container
    }
}

/// Where our processes listen: on loopback only, the pod's own.
fn loopback(settings: &Settings) -> &'static str {
    if settings.ipv6_loopback { "127.0.0.1,::1" } else { "127.0.0.1" }
}

/// Started means listening. The kubelet can't dial loopback, so the container looks itself: a LISTEN line (state 0A) for
/// the port in /proc/net/tcp. grep is in both official image variants, nc is not.
fn startup_probe(port: u16) -> Value {
    json!({
        "exec": {"command": ["grep", "-qE", format!(":{port:04X} 0+:0000 0A"), "/proc/net/tcp"]},
        // Every second, for a minute: the app waits for it, and ten seconds (the default) is a long time to wait.
        "periodSeconds": 1,
        "failureThreshold": 60,
    })
}

/// What Pod Security `restricted` asks for, and a read-only root besides.
fn security_context(settings: &Settings) -> Value {
    let mut context = json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"},
    });
    if let Some(user) = settings.run_as_user {
        context["runAsUser"] = json!(user);
    }
    context
}
