//! Which caches there are: several clusters in several namespaces, a gutter, contradictions; and that neither an API server
//! that is away nor a restart of anything makes the webhook forget or change them.

use serde_json::{Value, json};
use testbed::admission::review_of;
use testbed::https::Client;
use testbed::wait::{Look, until};

use crate::bed::{BOUND, Bed, is_injected, pod};
use crate::fleet::metric;

const SET: &str = "/apis/apps/v1/namespaces/cache/statefulsets/memcached";

/// A cache StatefulSet of two servers.
fn stateful_set(namespace: &str, name: &str, labels: Value, annotations: Value) -> Value {
    let selector = json!({"caches": name});
    json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations},
        "spec": {
            "replicas": 2, "serviceName": name, "selector": {"matchLabels": selector},
            "template": {
                "metadata": {"labels": selector},
                "spec": {"containers": [{"name": "memcached", "image": "memcached:1.6.45"}]},
            },
        },
    })
}

/// Creates a pod on `cluster` once the webhook knows the cluster, and returns its configuration.
fn config_of(bed: &Bed, namespace: &str, name: &str, cluster: &str) -> String {
    let asks = pod(namespace, name, json!({"memcached.io/mode": "replicated", "memcached.io/cluster": cluster}));
    let stored = until(&format!("cluster {cluster} to be known"), BOUND, || {
        let (status, answer) =
            bed.control_plane.post(&format!("/api/v1/namespaces/{namespace}/pods?dryRun=All"), &asks)?;
        Ok(if status == 201 { Look::Ready(answer) } else { Look::NotYet(answer.to_string()) })
    })
    .unwrap();
    stored["metadata"]["annotations"]["memcached.io/proxy-config"].as_str().unwrap().to_owned()
}

/// The servers that hold keys, and the stand-ins, of a configuration.
fn listed(config: &str) -> (Vec<String>, Vec<String>) {
    let addresses = |text: &str| {
        let quoted = text.split('"').filter(|part| part.contains(".svc.cluster.local.:"));
        quoted.map(|address| address.split('.').take(3).collect::<Vec<_>>().join(".")).collect()
    };
    let (servers, gutter) = config.split_once("gutter = {").unwrap_or((config, ""));
    (addresses(servers), addresses(gutter))
}

fn servers_of(bed: &Bed, namespace: &str, name: &str, cluster: &str) -> Vec<String> {
    listed(&config_of(bed, namespace, name, cluster)).0
}

#[test]
fn several_clusters_in_several_namespaces_are_told_apart_and_a_gutter_holds_no_keys() {
    let bed = Bed::shared();
    let (shop, other) = (bed.namespace(json!({}), json!({})), bed.namespace(json!({}), json!({})));
    let member = |replica: &str| json!({"memcached.io/cluster": "sessions", "memcached.io/replica": replica});
    let all = json!({"memcached.io/copies": "all"});
    for set in [
        stateful_set(&shop, "sessions-a", member("0"), all.clone()),
        stateful_set(&shop, "sessions-b", member("1"), all),
        stateful_set(
            &shop,
            "spare",
            json!({"memcached.io/cluster": "sessions", "memcached.io/role": "gutter"}),
            json!({}),
        ),
        stateful_set(&other, "pages", json!({"memcached.io/cluster": "sessions"}), json!({})),
        stateful_set(&other, "images", json!({"memcached.io/cluster": "images"}), json!({})),
    ] {
        bed.created(&set);
    }
    let on = |namespace: &str, set: &str| [0, 1].map(|ordinal| format!("{set}-{ordinal}.{set}.{namespace}")).to_vec();
    let both = [on(&shop, "sessions-a"), on(&shop, "sessions-b")].concat();
    let wanted = (both, on(&shop, "spare"));
    until("both replicas of sessions and their stand-ins", BOUND, || {
        let found = listed(&config_of(bed, &shop, "web", &format!("{shop}/sessions")));
        Ok(if found == wanted { Look::Ready(()) } else { Look::NotYet(format!("{found:?}")) })
    })
    .unwrap();
    assert_eq!(servers_of(bed, &shop, "web", &format!("{other}/sessions")), on(&other, "pages"));
    assert_eq!(servers_of(bed, &other, "web", &format!("{other}/images")), on(&other, "images"));
    // Each has a ring of its own, published where it is.
    for (namespace, set) in [(&shop, "sessions-a"), (&shop, "sessions-b"), (&other, "pages"), (&other, "images")] {
        let path = format!("/apis/apps/v1/namespaces/{namespace}/statefulsets/{set}");
        bed.wait_for("its ring", &path, |set| set["metadata"]["annotations"]["memcached.io/ring"].is_string());
    }
    let gutter = bed.get(&format!("/apis/apps/v1/namespaces/{shop}/statefulsets/spare"));
    assert!(gutter["metadata"]["annotations"]["memcached.io/ring"].is_null());
}

#[test]
fn two_statefulsets_that_contradict_each_other_are_an_error_that_names_both() {
    let bed = Bed::without_webhook();
    let replica = bed.replica(&[]);
    let shop = bed.namespace(json!({}), json!({}));
    let label = |replica: &str| json!({"memcached.io/cluster": "sessions", "memcached.io/replica": replica});
    bed.created(&stateful_set(&shop, "a", label("0"), json!({"memcached.io/copies": "1"})));
    bed.created(&stateful_set(&shop, "b", label("1"), json!({"memcached.io/copies": "all"})));
    let both = format!("StatefulSets {shop}/a and {shop}/b contradict each other");
    replica.process().wait_for_line(&both, BOUND).unwrap();
    let cluster = format!("{shop}/sessions");
    let refused = until("a pod on it to be refused", BOUND, || {
        let asks = json!({"memcached.io/mode": "replicated", "memcached.io/cluster": cluster});
        let said = bed.kubectl_on(&["create", "--dry-run=server"], &pod(&shop, "web", asks));
        Ok(if said.err.contains(&both) { Look::Ready(said.err) } else { Look::NotYet(said.out + &said.err) })
    });
    let refused = refused.unwrap();
    assert!(refused.contains(&both), "{refused}");
    assert!(metric(&replica, "clusters_broken") > 0.5);
    // Others are not affected, and it is over when one is mended.
    bed.created(&pod(&shop, "fine", json!({"memcached.io/mode": "replicated"})));
    let said = bed.kubectl(&["annotate", "--overwrite", "-n", &shop, "statefulset", "a", "memcached.io/copies=all"]);
    assert!(said.ok, "{}", said.err);
    assert_eq!(servers_of(&bed, &shop, "web", &cluster).len(), 4);
}

fn ring(set: &Value) -> String {
    set["metadata"]["annotations"]["memcached.io/ring"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn no_restart_rollout_or_lost_node_changes_a_ring() {
    let mut bed = Bed::without_webhook();
    bed.start_webhook();
    let ready = |set: &Value| set["status"]["readyReplicas"] == 3 && set["status"]["updatedReplicas"] == 3;
    let before = ring(&bed.wait_for("three servers and their ring", SET, |set| ready(set) && !ring(set).is_empty()));

    bed.stop_webhook();
    bed.start_webhook();
    let said = bed.kubectl(&["rollout", "restart", "statefulset", "memcached", "-n", "cache"]);
    assert!(said.ok, "{}", said.err);
    bed.wait_for("the rollout", SET, |set| {
        ready(set)
            && set["status"]["currentRevision"] == set["status"]["updateRevision"]
            && set["metadata"]["generation"] == set["status"]["observedGeneration"]
    });
    let said = bed.kubectl(&["delete", "pod", "memcached-1", "-n", "cache", "--wait=false"]);
    assert!(said.ok, "{}", said.err);
    let said = bed.kubectl(&["delete", "node", "node-0"]);
    assert!(said.ok, "{}", said.err);
    // One server has no node any more: the ring must outlast that, and looks at it every second.
    bed.wait_for("a server to be lost", SET, |set| set["status"]["readyReplicas"] != 3);
    bed.stop_webhook();
    bed.start_webhook();
    bed.injector().process().wait_for_line("leading", BOUND).unwrap();
    until("the new leader to have looked at the rings", BOUND, || {
        let (_, text) = bed.injector().health("/metrics")?;
        let looks = text.lines().any(|line| line == "memcached_injector_clusters 1");
        Ok(if looks { Look::Ready(()) } else { Look::NotYet(text) })
    })
    .unwrap();
    let shop = bed.namespace(json!({}), json!({}));
    for round in 0..10 {
        bed.created(&pod(&shop, &format!("web-{round}"), json!({"memcached.io/mode": "replicated"})));
        assert_eq!(ring(&bed.get(SET)), before, "round {round}");
    }
    assert!(!bed.injector().process().log().contains("published the ring"), "nothing was written");
}

#[test]
fn while_the_api_server_is_away_the_last_known_topology_goes_on() {
    let bed = Bed::without_webhook();
    let replica = bed.replica(&[]);
    let shop = bed.namespace(json!({}), json!({}));
    // The library is there, and known to be for a minute.
    assert!(is_injected(&bed.created(&pod(&shop, "web", json!({"memcached.io/mode": "replicated"})))));
    let client =
        Client::tls(replica.admission_address(), "memcached-injector.memcached-injector.svc", &bed.webhook_ca())
            .unwrap();
    let answered = || metric(&replica, "api_server_last_answer_timestamp_seconds");

    bed.control_plane.stop_api_server().unwrap();
    replica.process().wait_for_line("no heartbeat could be sent", BOUND).unwrap();
    let stale = answered();
    let review = review_of(&pod(&shop, "later", json!({"memcached.io/mode": "replicated"})), &shop);
    let (status, answer) = client.post_json("/inject", &review).unwrap();
    assert_eq!((status, &answer["response"]["allowed"]), (200, &json!(true)), "{answer}");
    assert!(answer["response"]["patch"].is_string(), "{answer}");
    assert!(stale > 0.0 && answered() <= stale, "the age of what is known can be seen");
    assert!(metric(&replica, "watch_errors_total{resource=\"statefulsets\"}") > 0.0);
    assert_eq!(replica.health("/readyz").unwrap().0, 200, "it answers, so it is ready");

    bed.control_plane.start_api_server().unwrap();
    until("the API server to answer it again", BOUND, || {
        Ok(if answered() > stale { Look::Ready(()) } else { Look::NotYet(replica.process().tail()) })
    })
    .unwrap();
    bed.created(&pod(&shop, "back", json!({"memcached.io/mode": "replicated"})));
}
