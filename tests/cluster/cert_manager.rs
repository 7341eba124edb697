//! Certificates that somebody else makes, caBundle included: the webhook serves what it is given and touches nothing.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use testbed::process::Spec;

use crate::bed::{BOUND, Bed, is_injected, pod};
use crate::fleet::{binary, ca_bundles};

const CONFIGS: [&str; 2] = ["mutatingwebhookconfiguration", "validatingwebhookconfiguration"];
const SERVICE: &str = "memcached-injector.memcached-injector.svc";

impl Bed {
    /// Kinds that cert-manager would bring.
    pub(crate) fn know_cert_manager(&self) {
        self.know("cert-manager-crds.yaml", &["cert-manager.io/v1/certificates", "cert-manager.io/v1/issuers"]);
    }
}

fn make_certificates(folder: &Path) {
    let spec = Spec::new("certs", binary()).args(["certs", "--dns", SERVICE, "--out"]).arg(folder);
    assert!(spec.spawn(folder.parent().unwrap()).unwrap().wait_exit(BOUND).unwrap().success());
}

/// What cainjector does.
fn inject_ca(bed: &Bed, folder: &Path) -> String {
    let ca = fs::read(folder.join("ca.crt")).unwrap();
    // The API server's own encoding of bytes in JSON.
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ca", "namespace": "default"}, "stringData": {"ca": String::from_utf8(ca).unwrap()}});
    let said = bed.kubectl_on(&["create", "--dry-run=server", "--output=json"], &secret);
    let stored: Value = serde_json::from_str(&said.out).unwrap();
    let bundle = stored["data"]["ca"].as_str().unwrap().to_owned();
    for config in CONFIGS {
        let path = format!("/apis/admissionregistration.k8s.io/v1/{config}s/memcached-injector");
        let entries = bed.get(&path)["webhooks"].as_array().unwrap().len();
        let operations: Vec<Value> = (0..entries)
            .map(|index| json!({"op": "add", "path": format!("/webhooks/{index}/clientConfig/caBundle"), "value": bundle}))
            .collect();
        let patch = json!(operations).to_string();
        let said = bed.kubectl(&["patch", config, "memcached-injector", "--type=json", "--patch", &patch]);
        assert!(said.ok, "{}", said.err);
    }
    bundle
}

#[test]
fn with_cert_manager_the_webhook_serves_what_it_is_given_and_needs_fewer_rights() {
    let bed = Bed::without_webhook();
    bed.know_cert_manager();
    let applied = bed.kubectl(&["apply", "-k", &bed.overlay("cert-manager")]);
    assert!(applied.ok, "{}", applied.err);
    // An installation with the component has never had these.
    for (kind, name) in [
        ("role", "memcached-injector"),
        ("rolebinding", "memcached-injector"),
        ("clusterrole", "memcached-injector-ca"),
        ("clusterrolebinding", "memcached-injector-ca"),
    ] {
        let line = format!("{kind}.rbac.authorization.k8s.io/{name} ");
        assert!(applied.out.lines().all(|one| !one.starts_with(&line)), "{}", applied.out);
        let said = bed.kubectl(&["delete", kind, name, "-n", "memcached-injector"]);
        assert!(said.ok, "{}", said.err);
    }
    let folder = bed.control_plane.folder().join("serving");
    make_certificates(&folder);
    let bundle = inject_ca(&bed, &folder);
    let replicas = bed.replicas(2, &["--certificates", "external", "--tls-dir", folder.to_str().unwrap()]);
    let shop = bed.namespace(json!({}), json!({}));
    assert!(is_injected(&bed.created(&pod(&shop, "web", json!({"memcached.io/mode": "replicated"})))));

    // Renewed: the CA first, as cainjector is quicker than a kubelet; then the files.
    make_certificates(&folder);
    let renewed = inject_ca(&bed, &folder);
    assert_ne!(bundle, renewed);
    for replica in &replicas {
        replica.process().wait_for_line("serving with a new certificate", BOUND).unwrap();
    }
    assert!(is_injected(&bed.created(&pod(&shop, "later", json!({"memcached.io/mode": "replicated"})))));
    for config in CONFIGS {
        let path = format!("/apis/admissionregistration.k8s.io/v1/{config}s/memcached-injector");
        assert!(ca_bundles(&bed.get(&path)).iter().all(|one| *one == renewed), "the caBundle is left alone");
    }
    let secret = "/api/v1/namespaces/memcached-injector/secrets/memcached-injector-tls";
    assert!(bed.get(secret).is_null(), "it makes no Secret of its own");
}
