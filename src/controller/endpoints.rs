//! The endpoints of our Service: the replicas that are heard and ready, and nobody else. Written by the leader.
//!
//! The Service has no selector, because Kubernetes takes some 48 seconds to notice a dead node, and every pod that asks
//! for a cache may fail meanwhile. When nobody is heard, or nobody is ready, everything stays as it is: a wrong endpoint
//! is no worse than none.
//!
//! The Service has two ports, and each has one half of the replicas: what fails at the first port the API server asks
//! again at the second, so the loss of one replica fails no pod (inject-pods.yaml).

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use kube::api::{ObjectMeta, PostParams};
use kube::runtime::reflector::Store;
use kube::runtime::{reflector, watcher};
use kube::{Api, Client, ResourceExt as _};

use super::lease::Leadership;
use super::replica::{MANAGER, Replica};
use super::replicas::Replicas;
use super::trouble::Trouble;
use crate::webhook::metrics::Metrics;

/// Pause between two looks. Part of the time in which a silent replica is taken out.
const EVERY: Duration = Duration::from_millis(250);
/// Longest wait for one write.
const LONGEST: Duration = Duration::from_secs(2);
/// The label by which a Service finds its slices.
const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Says whose a slice is, so that Kubernetes' own controllers leave it alone.
const MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// The Service's ports by name: asked first, and asked again.
const PORT_NAMES: [&str; 2] = ["https", "https-again"];

/// Keeps the slices for ever.
pub(super) async fn keep(
    client: Client,
    replica: Replica,
    replicas: Replicas,
    leadership: Leadership,
    metrics: Metrics,
) {
    let api = Api::<EndpointSlice>::namespaced(client, &replica.namespace);
    let ours = format!("{SERVICE_NAME}={},{MANAGED_BY}={MANAGER}", replica.service);
    let (store, writer) = reflector::store();
    let events = reflector(writer, watcher(api.clone(), watcher::Config::default().labels(&ours)));
    tokio::spawn(super::watch::drive("endpointslices", events, metrics.clone(), || {}));
    let mut trouble = Trouble::of("endpoints", metrics.clone());
    if store.wait_until_ready().await.is_err() {
        return; // the process ends
    }
    loop {
        tokio::time::sleep(EVERY).await;
        if !leadership.is_leading() {
            trouble.over();
            continue;
        }
        let Some(living) = replicas.living() else { continue };
        let ready: Vec<_> = living.iter().filter(|beat| beat.ready).map(|beat| beat.address).collect();
        if ready.is_empty() {
            continue;
        }
        metrics.endpoints.set(i64::try_from(ready.len()).unwrap_or(i64::MAX));
        let wanted = slices(&replica.service, &ready);
        let written = write(&api, &store, wanted).await;
        trouble.note("the endpoints of the webhook's Service can't be written: they stay as they are", written);
    }
}

/// One slice for each port of the Service, address family and port of a replica, because all endpoints of a slice have
/// those in common.
fn slices(service: &str, ready: &[SocketAddr]) -> BTreeMap<String, EndpointSlice> {
    let ready: BTreeSet<_> = ready.iter().collect();
    let ready: Vec<_> = ready.into_iter().collect();
    let (first, rest) = ready.split_at(ready.len().div_ceil(2));
    let again = if rest.is_empty() { first } else { rest };
    let mut slices = BTreeMap::<String, EndpointSlice>::new();
    for (port_name, half) in PORT_NAMES.into_iter().zip([first, again]) {
        for address in half {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            let name = format!("{service}-{port_name}-{}-{}", family.to_lowercase(), address.port());
            let slice =
                slices.entry(name.clone()).or_insert_with(|| empty(service, name, family, port_name, address.port()));
            slice.endpoints.push(Endpoint {
                addresses: vec![address.ip().to_string()],
                conditions: Some(EndpointConditions { ready: Some(true), ..EndpointConditions::default() }),
                ..Endpoint::default()
            });
        }
    }
    slices
}

fn empty(service: &str, name: String, family: &str, port_name: &str, port: u16) -> EndpointSlice {
    let labels = [(SERVICE_NAME, service), (MANAGED_BY, MANAGER)];
    EndpointSlice {
        metadata: ObjectMeta {
            name: Some(name),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        endpoints: Vec::new(),
        ports: Some(vec![EndpointPort {
            name: Some(port_name.to_owned()),
            port: Some(i32::from(port)),
            protocol: Some("TCP".to_owned()),
            ..EndpointPort::default()
        }]),
    }
}

/// Writes what differs.
async fn write(
    api: &Api<EndpointSlice>,
    store: &Store<EndpointSlice>,
    wanted: BTreeMap<String, EndpointSlice>,
) -> anyhow::Result<()> {
    let there: Vec<EndpointSlice> = store.state().iter().map(|slice| EndpointSlice::clone(slice)).collect();
    for change in changes(there, wanted) {
        let parameters = PostParams::default();
        let (name, endpoints) = (change.slice.name_any(), addresses(&change.slice.endpoints));
        tracing::info!(slice = name, ?endpoints, before = ?change.before, "the Service's endpoints change");
        // With the resourceVersion that was seen: who was the leader a moment ago changes nothing.
        let written = if change.before.is_some() {
            tokio::time::timeout(LONGEST, api.replace(&name, &parameters, &change.slice)).await?
        } else {
            tokio::time::timeout(LONGEST, api.create(&parameters, &change.slice)).await?
        };
        unless_overtaken(written)?;
    }
    Ok(())
}

/// A slice to be written.
struct Change {
    slice: EndpointSlice,
    /// Its addresses as they are; `None` where there is no such slice yet.
    before: Option<Vec<String>>,
}

/// What differs, those that get endpoints before those that lose all: otherwise a port of the Service would have none in
/// between. A slice that is not wanted any more is emptied, not deleted: no right to delete is needed.
fn changes(there: Vec<EndpointSlice>, mut wanted: BTreeMap<String, EndpointSlice>) -> Vec<Change> {
    let mut changes = Vec::new();
    for mut slice in there {
        let new = wanted.remove(&slice.name_any());
        let (endpoints, ports) = new.map_or((Vec::new(), slice.ports.clone()), |new| (new.endpoints, new.ports));
        if slice.endpoints == endpoints && slice.ports == ports {
            continue;
        }
        let before = addresses(&slice.endpoints).into_iter().map(str::to_owned).collect();
        (slice.endpoints, slice.ports) = (endpoints, ports);
        changes.push(Change { slice, before: Some(before) });
    }
    changes.extend(wanted.into_values().map(|slice| Change { slice, before: None }));
    changes.sort_by_key(|change| change.slice.endpoints.is_empty());
    changes
}

/// Somebody wrote since the watch told us, we ourselves perhaps: it will tell, and then we look again.
fn unless_overtaken(result: Result<EndpointSlice, kube::Error>) -> Result<(), kube::Error> {
    match result {
        Err(kube::Error::Api(status))
            if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
        {
            Ok(())
        }
        other => other.map(drop),
    }
}

fn addresses(endpoints: &[Endpoint]) -> Vec<&str> {
    endpoints.iter().flat_map(|endpoint| &endpoint.addresses).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(ready: &[SocketAddr]) -> Vec<(String, Vec<String>)> {
        let told = |slice: &EndpointSlice| addresses(&slice.endpoints).into_iter().map(str::to_owned).collect();
        slices("injector", ready).iter().map(|(name, slice)| (name.clone(), told(slice))).collect()
    }

    fn slice(name: &str, addresses: &[&str]) -> (String, Vec<String>) {
        (name.to_owned(), addresses.iter().map(|address| (*address).to_owned()).collect())
    }

    fn address(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 8443).into()
    }

    #[test]
    fn each_family_and_port_has_a_slice_of_its_own() {
        let ready = [([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 8443).into(), ([192, 0, 2, 1], 8444).into(), address(1)];
        let expected = [
            slice("injector-https-again-ipv6-8443", &["2001:db8::1"]),
            slice("injector-https-ipv4-8443", &["192.0.2.1"]),
            slice("injector-https-ipv4-8444", &["192.0.2.1"]),
        ];
        assert_eq!(told(&ready), expected);
    }

    /// Replicas with ports of their own have slices of their own.
    #[test]
    fn a_port_gets_new_endpoints_before_it_loses_the_old_ones() {
        let at = |port: u16| -> SocketAddr { ([192, 0, 2, 1], port).into() };
        let there: Vec<_> = slices("injector", &[at(1), at(3)]).into_values().collect();
        let told: Vec<_> = changes(there, slices("injector", &[at(2), at(3)]))
            .iter()
            .map(|change| (change.slice.name_any(), change.slice.endpoints.len(), change.before.as_ref().map(Vec::len)))
            .collect();
        let expected =
            [("injector-https-ipv4-2".to_owned(), 1, None), ("injector-https-ipv4-1".to_owned(), 0, Some(1))];
        assert_eq!(told, expected);
    }

    #[test]
    fn no_replica_is_asked_twice_unless_it_is_the_only_one() {
        let (first, again) = ("injector-https-ipv4-8443", "injector-https-again-ipv4-8443");
        assert_eq!(told(&[address(1)]), [slice(again, &["192.0.2.1"]), slice(first, &["192.0.2.1"])]);
        assert_eq!(told(&[address(2), address(1)]), [slice(again, &["192.0.2.2"]), slice(first, &["192.0.2.1"])]);
        let three = [slice(again, &["192.0.2.3"]), slice(first, &["192.0.2.1", "192.0.2.2"])];
        assert_eq!(told(&[address(3), address(2), address(1), address(3)]), three);
    }
}
