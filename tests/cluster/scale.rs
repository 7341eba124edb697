//! `memcached-injector scale`: what it refuses, what it says, and that it takes no server away which the ring counts. That it
//! loses no key under traffic, in both directions, is in ring.rs.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use testbed::process::run;

use crate::bed::Bed;
use crate::fleet::binary;

const DONE: i32 = 0;
const ERROR: i32 = 1;
const REFUSED: i32 = 3;
const TIME_UP: i32 = 4;

/// How it ended.
#[derive(Debug)]
pub(crate) struct Scaled {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Scaled {
    /// The JSON document of `-o json`.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Runs it with what this kubeconfig may do.
fn scale_as(kubeconfig: &Path, args: &[&str]) -> Scaled {
    let mut command = Command::new(binary());
    command.arg("scale").args(args).env("KUBECONFIG", kubeconfig);
    let output = run(command).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Scaled { code: output.status.code().unwrap(), out: text(output.stdout), err: text(output.stderr) }
}

/// As an administrator.
pub(crate) fn scale(bed: &Bed, args: &[&str]) -> Scaled {
    scale_as(bed.control_plane.kubeconfig(), args)
}

/// A cluster of two servers that nobody can reach, with its ring.
fn sessions(bed: &Bed, annotations: Value) -> (String, String) {
    let namespace = bed.namespace(json!({}), json!({}));
    bed.created(&json!({
        "apiVersion": "apps/v1", "kind": "StatefulSet",
        "metadata": {
            "name": "sessions", "namespace": namespace, "labels": {"memcached.io/cluster": "sessions"},
            "annotations": annotations,
        },
        "spec": {
            "replicas": 2, "serviceName": "sessions", "selector": {"matchLabels": {"caches": "sessions"}},
            "template": {
                "metadata": {"labels": {"caches": "sessions"}},
                "spec": {"containers": [{"name": "memcached", "image": "memcached:1.6.45"}]},
            },
        },
    }));
    let path = format!("/apis/apps/v1/namespaces/{namespace}/statefulsets/sessions");
    (namespace, path)
}

fn wait_for_ring(bed: &Bed, path: &str) {
    bed.wait_for("its ring, and two ready servers", path, |set| {
        set["metadata"]["annotations"]["memcached.io/ring"].is_string() && set["status"]["readyReplicas"] == 2
    });
}

#[test]
fn a_server_goes_only_when_the_ring_counts_it_no_more_and_the_same_command_turns_back() {
    let bed = Bed::shared();
    let (namespace, path) = sessions(bed, json!({}));
    wait_for_ring(bed, &path);
    let cluster = format!("{namespace}/sessions");
    let unchanged = scale(bed, &[&cluster, "--servers", "2", "-o", "json"]);
    assert_eq!((unchanged.code, &unchanged.json()["result"]), (DONE, &json!("unchanged")), "{unchanged:?}");

    // Nobody can bring the keys of servers that do not answer anywhere.
    let down = scale(bed, &[&cluster, "--servers", "1", "--timeout", "4s"]);
    assert_eq!((down.code, down.out.as_str()), (TIME_UP, ""), "{down:?}");
    for part in
        ["let 1 of its 2 servers count", "the ring counts 2 servers, to be 1", "No key is lost", "logs deployment"]
    {
        assert!(down.err.contains(part), "{part}: {}", down.err);
    }
    let set = bed.get(&path);
    assert_eq!((&set["spec"]["replicas"], &set["status"]["replicas"]), (&json!(2), &json!(2)));
    assert_eq!(set["metadata"]["annotations"]["memcached.io/servers"], "1", "the leader goes on with it");

    let back = scale(bed, &[&cluster, "--servers", "2", "--output", "json"]);
    assert_eq!((back.code, &back.json()["result"]), (DONE, &json!("done")), "{back:?}");
    assert!(bed.get(&path)["metadata"]["annotations"]["memcached.io/servers"].is_null());
}

#[test]
fn what_would_lose_keys_is_refused_and_nothing_is_written() {
    let bed = Bed::shared();
    let (namespace, path) = sessions(bed, json!({"memcached.io/copies": "2"}));
    wait_for_ring(bed, &path);
    let before = bed.get(&path)["metadata"]["annotations"].clone();
    let cluster = format!("{namespace}/sessions");
    let refused = scale(bed, &[&cluster, "--servers", "1"]);
    assert_eq!((refused.code, refused.out.as_str()), (REFUSED, ""), "{refused:?}");
    assert!(refused.err.contains("2 copies of each key, which 1 server can't hold"), "{}", refused.err);
    let refused = scale(bed, &[&cluster, "--servers", "1", "-o", "json"]);
    assert_eq!((refused.code, &refused.json()["result"]), (REFUSED, &json!("refused")), "{refused:?}");
    assert_eq!(bed.get(&path)["metadata"]["annotations"], before);
    let none = scale(bed, &[&cluster, "--servers", "0"]);
    assert_eq!(none.code, 2, "no servers is wrong usage: {none:?}");
}

#[test]
fn without_a_webhook_that_publishes_rings_it_writes_nothing_and_says_so() {
    let bed = Bed::without_webhook();
    let asked = scale(&bed, &["memcached", "--servers", "2", "--timeout", "3s"]);
    assert_eq!(asked.code, TIME_UP, "{asked:?}");
    assert!(asked.err.contains("StatefulSet memcached has no ring yet; the webhook publishes it"), "{}", asked.err);
    let set = bed.get("/apis/apps/v1/namespaces/cache/statefulsets/memcached");
    assert_eq!(set["spec"]["replicas"], 3);
    assert!(set["metadata"]["annotations"]["memcached.io/servers"].is_null());
}

#[test]
fn an_error_names_the_thing_and_the_way_out() {
    let bed = Bed::shared();
    let unknown = scale(bed, &["memcache", "--servers", "3"]);
    assert_eq!(unknown.code, ERROR);
    for part in ["cluster cache/memcache", "memcached.io/cluster=memcache", "there is cache/memcached"] {
        assert!(unknown.err.contains(part), "{part}: {}", unknown.err);
    }
    let shop = bed.namespace(json!({}), json!({}));
    let nobody = bed.control_plane.kubeconfig_for_service_account(&shop, "default").unwrap();
    let forbidden = scale_as(&nobody, &["memcached", "--servers", "3"]);
    assert_eq!(forbidden.code, ERROR);
    for part in ["list and patch of statefulsets", "forbidden", "namespace \"cache\""] {
        assert!(forbidden.err.contains(part), "{part}: {}", forbidden.err);
    }
    let context = scale(bed, &["memcached", "--servers", "3", "--context", "nowhere"]);
    assert!(context.code == ERROR && context.err.contains("nowhere"), "{context:?}");
    let name = scale(bed, &["Cache/Memcached", "--servers", "3"]);
    assert!(name.code == ERROR && name.err.contains("[NAMESPACE/]NAME"), "{name:?}");
}
