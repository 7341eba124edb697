//! The webhook's place among the endpoints of its Service, where the API server finds it. Owns making room for it, its
//! EndpointSlice, and knowing when the API server has seen it; starts nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{ControlPlane, NAME, START_BOUND};
use crate::https;
use crate::wait::{self, Look};

/// Scales the manifests' Deployment to zero and waits until none of its pods is an endpoint.
pub(super) fn make_room(control_plane: &ControlPlane) -> Result<()> {
    let path = format!("/apis/apps/v1/namespaces/{NAME}/deployments/{NAME}");
    if control_plane.get(&path)?.0 == 404 {
        return Ok(());
    }
    control_plane.kubectl_text(["scale", "deployment", NAME, "--namespace", NAME, "--replicas=0"])?;
    control_plane.wait_for("the webhook's Deployment to have no pods", &path, START_BOUND, |deployment| {
        let seen = deployment["status"]["observedGeneration"].as_u64() >= deployment["metadata"]["generation"].as_u64();
        seen && deployment["status"]["replicas"].as_u64().unwrap_or(0) == 0
    })?;
    let slices = format!(
        "/apis/discovery.k8s.io/v1/namespaces/{NAME}/endpointslices?labelSelector=kubernetes.io/service-name={NAME},endpointslice.kubernetes.io/managed-by=endpointslice-controller.k8s.io"
    );
    control_plane.wait_for("the pods to leave the webhook's endpoints", &slices, START_BOUND, |list| {
        let slices = list["items"].as_array();
        slices.is_some_and(|all| all.iter().all(|slice| slice["endpoints"].as_array().is_none_or(Vec::is_empty)))
    })?;
    Ok(())
}

/// One address among the endpoints of the webhook's Service, taken out on drop.
#[derive(Debug)]
pub(super) struct Endpoint {
    client: https::Client,
    path: String,
}

impl Endpoint {
    pub(super) fn add(control_plane: &ControlPlane, address: SocketAddr) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{NAME}-testbed-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let family = if matches!(address.ip(), IpAddr::V4(_)) { "IPv4" } else { "IPv6" };
        let slice = json!({
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": name,
                "namespace": NAME,
                "labels": {"kubernetes.io/service-name": NAME, "endpointslice.kubernetes.io/managed-by": "testbed"},
            },
            "addressType": family,
            "endpoints": [{"addresses": [address.ip().to_string()], "conditions": {"ready": true}}],
            // The API server looks for the name that the Service's port has.
            "ports": [{"name": "https", "port": address.port(), "protocol": "TCP"}],
        });
        let all = format!("/apis/discovery.k8s.io/v1/namespaces/{NAME}/endpointslices");
        let (status, answer) = control_plane.post(&all, &slice)?;
        if status != 201 {
            bail!("the API server refused the webhook's EndpointSlice ({status}): {answer}");
        }
        Ok(Self { client: control_plane.client(), path: format!("{all}/{name}") })
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // A control plane that is gone has no endpoints either.
        let _ = self.client.delete(&self.path);
    }
}

/// Waits until a pod is really sent to the webhook: the API server learns of endpoints and configurations by watches, a
/// few milliseconds after they were written. `pod` is created as a server-side dry run until `admitted` says yes.
///
/// # Errors
/// When it does not happen within 30 s; the message has the API server's last answer.
pub fn wait_until_admitting(
    control_plane: &ControlPlane,
    pod: &Value,
    admitted: impl Fn(&Value) -> bool,
) -> Result<()> {
    let namespace = pod["metadata"]["namespace"].as_str().unwrap_or("default");
    let path = format!("/api/v1/namespaces/{namespace}/pods?dryRun=All");
    wait::until("a pod to be sent to the webhook", START_BOUND, || {
        let (status, answer) = control_plane.post(&path, pod)?;
        let there = status == 201 && admitted(&answer);
        Ok(if there { Look::Ready(()) } else { Look::NotYet(format!("POST {path} answers {status}: {answer}")) })
    })
}
