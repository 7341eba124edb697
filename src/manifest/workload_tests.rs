//! What `workload` promises: every pod template is found, and a malformed one is named. Owns no fixture files.
#![allow(clippy::unwrap_used)]

use super::*;
use serde_json::json;

fn found(document: &Value) -> Vec<(String, String, String)> {
    let text = |t: Target| (t.to_string(), t.object.to_string(), t.template.to_string());
    pod_templates(document).unwrap().into_iter().map(text).collect()
}

fn refused(document: &Value) -> String {
    pod_templates(document).unwrap_err().to_string()
}

fn row(name: &str, object: &str, template: &str) -> (String, String, String) {
    (name.to_owned(), object.to_owned(), template.to_owned())
}

#[test]
fn finds_the_template_of_every_kind() {
    for (version, kind, path) in WORKLOADS {
        let template = json!({"spec": {"containers": []}});
        let wrap = |inner, key: &&str| json!({ *key: inner });
        let mut object = path.iter().rev().fold(template, wrap);
        object["apiVersion"] = json!(version);
        object["kind"] = json!(kind);
        object["metadata"] = json!({"name": "web", "namespace": "shop"});
        let at = path.iter().map(|k| format!("/{k}")).collect::<String>();
        assert_eq!(found(&object), [row(&format!("{kind} shop/web"), "", &at)]);
        assert!(object.pointer(&at).unwrap().get("spec").is_some());

        object["apiVersion"] = json!("example.com/v1");
        assert_eq!(found(&object), [], "another group's {kind} is not ours");
    }
}

#[test]
fn lists_hold_targets_of_their_own() {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "a-"}, "spec": {}});
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "spec": null}, pod,
        {"apiVersion": "v1", "kind": "List", "items": [pod]},
    ]});
    assert_eq!(
        found(&list),
        [row("Pod a-*", "/items/1", "/items/1"), row("Pod a-*", "/items/2/items/0", "/items/2/items/0")]
    );
    let typed = json!({"apiVersion": "apps/v1", "kind": "DeploymentList", "items": [
        {"metadata": {"name": "b"}, "spec": {"template": {"metadata": null, "spec": {}}}},
    ]});
    assert_eq!(found(&typed), [row("Deployment b", "/items/0", "/items/0/spec/template")]);
    for items in [json!(null), json!([])] {
        assert_eq!(found(&json!({"apiVersion": "v1", "kind": "PodList", "items": items})), []);
    }
    assert_eq!(found(&json!({"apiVersion": "v1", "kind": "List"})), []);
}

#[test]
fn other_documents_hold_none() {
    for document in [
        json!({}),
        json!({"kind": "Deployment"}),
        json!({"kind": 1, "apiVersion": null}),
        json!({"apiVersion": "example.com/v1", "kind": "AllowList", "items": "x"}),
    ] {
        assert_eq!(found(&document), []);
    }
}

#[test]
fn malformed_objects_are_named_with_their_field() {
    let deployment = |rest: Value| {
        let mut object =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}});
        object.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        object
    };
    for (rest, message) in [
        (json!({}), "Deployment shop/web: spec is missing, but must be an object"),
        (json!({"spec": null}), "Deployment shop/web: spec is null, but must be an object"),
        (json!({"spec": {"template": "x"}}), "Deployment shop/web: spec.template is a string, but must be an object"),
        (
            json!({"spec": {"template": {"spec": []}}}),
            "Deployment shop/web: spec.template.spec is a list, but must be an object",
        ),
        (
            json!({"spec": {"template": {"spec": {}, "metadata": 1}}}),
            "Deployment shop/web: spec.template.metadata is a number, but must be an object",
        ),
        (json!({"metadata": "x", "spec": null}), "Deployment (no name): spec is null, but must be an object"),
    ] {
        assert_eq!(refused(&deployment(rest)), message);
    }
    assert_eq!(
        refused(&json!({"apiVersion": "v1", "kind": "List", "items": [null]})),
        "this document: items.0 is null, but must be a Kubernetes object: a mapping with apiVersion and kind"
    );
    assert_eq!(
        refused(&json!({"apiVersion": "v1", "kind": "List", "items": {}})),
        "List (no name): items is a mapping, but must be a list of objects"
    );
    assert_eq!(
        refused(&json!("text")),
        "this document: its content is a string, but must be a Kubernetes object: a mapping with apiVersion and kind"
    );
}

#[test]
fn finds_namespaces() {
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"memcached.io/inject": "sharded"}, "annotations": null}},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shop"}, "spec": {}},
    ]});
    let shop = Namespace { name: "shop".to_owned(), inject: Some("sharded".to_owned()), annotations: BTreeMap::new() };
    assert_eq!(namespaces(&list), Ok(vec![shop]));

    let wrong = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop", "labels": {"on": true}}});
    assert_eq!(
        namespaces(&wrong).unwrap_err().to_string(),
        "Namespace shop: metadata.labels[on] is a boolean, but must be a string; put it in quotes"
    );
}

#[test]
fn finds_labelled_stateful_sets() {
    let set = |labels| json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"labels": labels}});
    let (cache, other) = (set(json!({label::CLUSTER: "memcached"})), set(json!("text")));
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [other, cache]});
    assert_eq!(cache_stateful_sets(&list), Ok(vec![&cache]));
    assert_eq!(cache_stateful_sets(&cache), Ok(vec![&cache]));
    assert_eq!(cache_stateful_sets(&other), Ok(vec![]));
}
