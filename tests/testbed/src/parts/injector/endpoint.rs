//! The webhook's place among the endpoints of its Service, where the API server finds it. Owns knowing that the webhook's
//! leader has written it and that the API server has seen it; writes nothing, because that is the webhook's own work.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use anyhow::Result;
use serde_json::Value;

use super::{ControlPlane, NAME, START_BOUND};
use crate::wait::{self, Look};

/// API path of the EndpointSlices that make up the webhook's Service.
pub fn endpoint_slices() -> String {
    format!(
        "/apis/discovery.k8s.io/v1/namespaces/{NAME}/endpointslices?labelSelector=kubernetes.io/service-name={NAME}"
    )
}

/// The addresses in a list of EndpointSlices, each once and in order.
pub fn addresses(list: &Value) -> Vec<SocketAddr> {
    ["https", "https-again"]
        .iter()
        .flat_map(|port| addresses_of(list, port))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

/// The addresses for one port of the Service: `https` is asked first, `https-again` where that fails.
pub fn addresses_of(list: &Value, port: &str) -> Vec<SocketAddr> {
    let slices = list["items"].as_array().into_iter().flatten();
    let slices = slices.filter(|slice| slice["ports"][0]["name"] == port);
    let of_slice = |slice: &Value| -> Vec<SocketAddr> {
        let port = slice["ports"][0]["port"].as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(0);
        let endpoints = slice["endpoints"].as_array().into_iter().flatten();
        endpoints
            .filter_map(|endpoint| Some(SocketAddr::new(endpoint["addresses"][0].as_str()?.parse().ok()?, port)))
            .collect()
    };
    slices.flat_map(of_slice).collect()
}

/// Waits until the webhook's leader has put `address` among the endpoints.
pub(super) fn wait_until_listed(control_plane: &ControlPlane, address: SocketAddr) -> Result<()> {
    let what = format!("the webhook at {address} to be an endpoint of its Service");
    control_plane.wait_for(&what, &endpoint_slices(), START_BOUND, |list| addresses(list).contains(&address))?;
    Ok(())
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
