//! The caBundle is ours alone: mended when somebody breaks it, and in nobody's way when the manifests are applied again,
//! by either side, with entries dropped, renamed and back.

use std::time::Instant;

use serde_json::{Value, json};
use testbed::folder::workspace_root;

use crate::bed::{Bed, Said};
use crate::fleet::ca_bundles;

const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/memcached-injector";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/memcached-injector";

/// Every entry has the same caBundle, and one at all.
fn is_whole(config: &Value) -> bool {
    let bundles = ca_bundles(config);
    bundles.iter().all(|bundle| !bundle.is_empty() && *bundle == bundles[0])
}

#[test]
fn a_ca_bundle_that_somebody_empties_or_breaks_is_mended_within_seconds() {
    let bed = Bed::without_webhook();
    let _replicas = bed.replicas(2, &[]);
    let whole = ca_bundles(&bed.wait_for("the caBundle", MUTATING, is_whole));
    for (kind, path, index) in [("mutating", MUTATING, 4), ("mutating", MUTATING, 0), ("validating", VALIDATING, 1)] {
        for value in ["null", "\"Z2FyYmFnZQ==\""] {
            // The API server refuses what is no certificate at all; then there is nothing to mend.
            let op = if value == "null" { "replace" } else { "add" };
            let patch = format!(
                "[{{\"op\": \"{op}\", \"path\": \"/webhooks/{index}/clientConfig/caBundle\", \"value\": {value}}}]"
            );
            let start = Instant::now();
            let resource = format!("{kind}webhookconfiguration");
            let said = bed.kubectl(&["patch", &resource, "memcached-injector", "--type=json", "--patch", &patch]);
            if !said.ok {
                assert!(said.err.contains("caBundle"), "{}", said.err);
                continue;
            }
            bed.wait_for("the caBundle to be mended", path, |config| {
                ca_bundles(config).iter().all(|one| *one == whole[0])
            });
            println!("caBundle of a {kind} entry set to {value}: mended after {:.1} s", start.elapsed().as_secs_f64());
        }
    }
}

/// The MutatingWebhookConfiguration of the manifests, changed.
fn release(bed: &Bed, change: impl FnOnce(&mut Vec<Value>)) -> Value {
    let folder = workspace_root().join("manifests/base/webhook");
    let said = bed.kubectl(&["create", "--dry-run=client", "--output=json", "-k", folder.to_str().unwrap()]);
    assert!(said.ok, "{}", said.err);
    let objects = serde_json::Deserializer::from_str(&said.out).into_iter::<Value>().map(Result::unwrap);
    let mut config = objects.into_iter().find(|object| object["kind"] == "MutatingWebhookConfiguration").unwrap();
    change(config["webhooks"].as_array_mut().unwrap());
    config
}

fn drop_one(webhooks: &mut Vec<Value>) {
    webhooks.retain(|entry| entry["name"] != "sharded.memcached.io");
}

fn rename_one(webhooks: &mut Vec<Value>) {
    for entry in webhooks {
        if entry["name"] == "disabled.memcached.io" {
            entry["name"] = json!("refused.memcached.io");
        }
    }
}

#[test]
fn a_release_may_drop_rename_and_bring_back_entries_by_either_kind_of_apply() {
    for side in [&["apply"][..], &["apply", "--server-side"]] {
        let bed = Bed::without_webhook();
        if side.len() > 1 {
            // As an installation that was made this way: one field manager, from the beginning.
            let said = bed.kubectl(&["delete", "mutatingwebhookconfiguration", "memcached-injector"]);
            assert!(said.ok, "{}", said.err);
            applied(bed.kubectl_on(side, &release(&bed, |_| {})), "made");
        }
        let _replicas = bed.replicas(2, &[]);
        bed.wait_for("the caBundle", MUTATING, is_whole);
        let whole = ca_bundles(&bed.get(MUTATING));
        applied(bed.kubectl_on(side, &release(&bed, |_| {})), "again");
        assert_eq!(ca_bundles(&bed.get(MUTATING)), whole, "{side:?}: the same manifests take nothing away");
        for (what, change, entries) in [
            ("drops", drop_one as fn(&mut Vec<Value>), 11),
            ("brings back", |_: &mut Vec<Value>| {}, 12),
            ("renames", rename_one, 12),
        ] {
            applied(bed.kubectl_on(side, &release(&bed, change)), what);
            let config = bed.wait_for(&format!("a caBundle after a release that {what} an entry"), MUTATING, is_whole);
            assert_eq!(ca_bundles(&config).len(), entries, "{side:?} {what}");
        }
    }
}

fn applied(said: Said, what: &str) {
    assert!(said.ok, "{what}: {}", said.err);
}
