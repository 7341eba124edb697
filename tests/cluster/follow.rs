//! Live follow: the ring of a cluster is published, and running pods get the configuration that goes with it.

use serde_json::{Value, json};
use testbed::parts::injector::Injector;
use testbed::wait::{Look, until};

use crate::bed::{BOUND, Bed, pod, template};

/// Each has a proxy of the DaemonSet, which is followed as a sidecar is.
const NODES: usize = 5;
const SET: &str = "/apis/apps/v1/namespaces/cache/statefulsets/memcached";

fn ring(set: &Value) -> (u64, u64) {
    let text = set["metadata"]["annotations"]["memcached.io/ring"].as_str().unwrap_or("{}");
    let ring: Value = serde_json::from_str(text).unwrap();
    (ring["epoch"].as_u64().unwrap_or(0), ring["servers"].as_u64().unwrap_or(0))
}

fn config(pod: &Value) -> &str {
    pod["metadata"]["annotations"]["memcached.io/proxy-config"].as_str().unwrap_or_default()
}

fn servers(pod: &Value) -> usize {
    config(pod).matches(".memcached-headless.cache.svc.cluster.local.:11211").count()
}

fn scale(bed: &Bed, replicas: u32) {
    let said =
        bed.kubectl(&["scale", "statefulset", "memcached", "--namespace", "cache", &format!("--replicas={replicas}")]);
    assert!(said.ok, "{}", said.err);
}

/// Waits until all thirty hold.
fn pods(bed: &Bed, namespace: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Vec<Value> {
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let list = bed.wait_for(what, &path, |list| {
        list["items"].as_array().is_some_and(|pods| pods.len() == 30 && pods.iter().all(&holds))
    });
    list["items"].as_array().cloned().unwrap_or_default()
}

/// Waits until the metric counts that many pods.
fn counted_behind(bed: &Bed, pods: usize) {
    counted(bed.injector(), pods);
}

fn counted(replica: &Injector, pods: usize) {
    let wanted = format!("memcached_injector_pods_behind {pods}\n");
    until("the pods that are behind to be counted", BOUND, || {
        let (_, metrics) = replica.health("/metrics")?;
        let found = metrics.lines().find(|line| line.starts_with("memcached_injector_pods_behind")).unwrap_or_default();
        Ok(if metrics.contains(&wanted) { Look::Ready(()) } else { Look::NotYet(found.to_owned()) })
    })
    .unwrap();
}

/// What must stay as it is while a pod follows: all that its owner wrote or we added before.
fn the_rest(pods: &[Value]) -> Vec<String> {
    let mut rest: Vec<_> = pods
        .iter()
        .map(|pod| {
            let mut metadata = pod["metadata"].clone();
            metadata["annotations"]["memcached.io/proxy-config"] = Value::Null;
            for field in ["managedFields", "resourceVersion", "generation"] {
                metadata[field] = Value::Null;
            }
            json!([metadata, pod["spec"]["initContainers"], pod["spec"]["containers"]]).to_string()
        })
        .collect();
    rest.sort();
    rest
}

#[test]
fn running_pods_follow_a_cluster_that_grows_and_shrinks() {
    let mut bed = Bed::without_webhook_on(NODES);
    bed.start_webhook();
    bed.wait_for("the first ring", SET, |set| ring(set) == (1, 3));
    let (shop, other) = (bed.namespace(json!({}), json!({})), bed.namespace(json!({}), json!({})));
    let selector = json!({"matchLabels": {"app": "web"}});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": shop},
        "spec": {"replicas": 30, "selector": selector, "template": template("failover")},
    });
    let said = bed.create(&deployment);
    assert!(said.ok, "{}", said.err);
    let before = pods(&bed, &shop, "thirty pods on three servers", |pod| servers(pod) == 3);
    let plain = bed.created(&pod(
        &other,
        "plain",
        json!({"memcached.io/proxy-config": config(&before[0]), "memcached.io/mode": "none"}),
    ));

    scale(&bed, 5);
    let listed = |pod: &Value| servers(pod) == 5 && config(pod).contains("servers = 3,");
    let after = pods(&bed, &shop, "all of them to list five, of which three count", listed);
    // Nobody listens in the place of these servers.
    bed.injector().process().wait_for_line("held by cache servers that do not answer", BOUND).unwrap();
    assert_eq!(ring(&bed.get(SET)), (1, 3), "servers that do not answer get no keys");
    assert!(the_rest(&before) == the_rest(&after), "more than their configuration has changed");
    let new = bed.created(&pod(&other, "new", json!({"memcached.io/mode": "failover"})));
    assert_eq!(config(&new), config(&after[0]), "as a new pod gets it");

    scale(&bed, 3);
    pods(&bed, &shop, "all of them on three", |pod| servers(pod) == 3);
    let stored = bed.get(&format!("/api/v1/namespaces/{other}/pods/plain"));
    assert_eq!(config(&stored), config(&plain), "a pod that was not injected is left alone");
    counted_behind(&bed, 0);

    let said = bed.kubectl(&["delete", "validatingadmissionpolicybinding", "memcached-injector-pods"]);
    assert!(said.ok, "{}", said.err);
    until("the webhook to see that its policy is gone", BOUND, || {
        let log = bed.injector().process().log();
        let seen = log.contains("running pods are not followed, because the ValidatingAdmissionPolicy");
        Ok(if seen { Look::Ready(()) } else { Look::NotYet(String::new()) })
    })
    .unwrap();
    scale(&bed, 4);
    counted_behind(&bed, 31 + NODES);
    pods(&bed, &shop, "all of them still on three", |pod| servers(pod) == 3);
}

#[test]
fn following_that_is_turned_off_says_how_many_pods_are_behind() {
    let bed = Bed::without_webhook_on(NODES);
    let replica = bed.replica(&["--follow-rate", "0"]);
    let shop = bed.namespace(json!({}), json!({}));
    for name in ["a", "b", "c"] {
        bed.created(&pod(&shop, name, json!({"memcached.io/mode": "replicated"})));
    }
    bed.wait_for("the first ring", SET, |set| ring(set) == (1, 3));
    scale(&bed, 4);
    let told = replica.process().wait_for_line("are not followed", BOUND).unwrap();
    let told: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(told["fields"]["behind"], 3 + NODES, "{told}");
    counted(&replica, 3 + NODES);
    for name in ["a", "b", "c"] {
        assert_eq!(servers(&bed.get(&format!("/api/v1/namespaces/{shop}/pods/{name}"))), 3, "{name}");
    }
}

#[test]
fn the_injectors_own_identity_may_change_nothing_else() {
    let bed = Bed::shared();
    let shop = bed.namespace(json!({}), json!({}));
    bed.created(&pod(&shop, "web", json!({"memcached.io/mode": "replicated"})));
    bed.created(&pod(&shop, "plain", json!({})));
    let token = bed.kubectl(&["create", "token", "memcached-injector", "--namespace", "memcached-injector"]);
    let identity = bed.control_plane.client().with_token(token.out.trim());
    let try_on = |kind: &str, name: &str, namespace: &str, patch: Value| {
        let group = if kind == "pods" { "/api/v1" } else { "/apis/apps/v1" };
        identity.merge_patch(&format!("{group}/namespaces/{namespace}/{kind}/{name}?dryRun=All"), &patch).unwrap()
    };
    let annotate = |key: &str| json!({"metadata": {"annotations": {key: "x"}}});
    let (status, said) = try_on("pods", "web", &shop, annotate("memcached.io/proxy-config"));
    assert_eq!(status, 200, "{said}");
    let (status, said) = try_on("statefulsets", "memcached", "cache", annotate("memcached.io/ring"));
    assert_eq!(status, 200, "{said}");
    let image = json!({"spec": {"containers": [{"name": "app", "image": "evil:1"}]}});
    for (kind, name, namespace, patch) in [
        ("pods", "web", shop.as_str(), annotate("memcached.io/status")),
        ("pods", "web", &shop, annotate("team")),
        ("pods", "web", &shop, json!({"metadata": {"annotations": {"memcached.io/mode": null}}})),
        ("pods", "web", &shop, json!({"metadata": {"labels": {"team": "x"}}})),
        ("pods", "web", &shop, json!({"metadata": {"finalizers": ["x.io/x"]}})),
        ("pods", "web", &shop, json!({"spec": {"activeDeadlineSeconds": 1}})),
        ("pods", "plain", &shop, annotate("memcached.io/proxy-config")),
        ("pods", "plain", &shop, json!({"metadata": {"labels": {"memcached.io/injected": "true"}}})),
        ("statefulsets", "memcached", "cache", json!({"spec": {"replicas": 0}})),
        ("statefulsets", "memcached", "cache", annotate("memcached.io/copies")),
        ("statefulsets", "memcached", "cache", json!({"metadata": {"labels": {"memcached.io/cluster": "other"}}})),
        ("statefulsets", "memcached", "cache", json!({"spec": {"template": image}})),
    ] {
        let (status, said) = try_on(kind, name, namespace, patch.clone());
        assert!(status == 422 && said.contains("ValidatingAdmissionPolicy"), "{kind} {name} {patch}: {status} {said}");
    }
}
