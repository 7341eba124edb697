//! The cluster that the tests share, and what each does with it: a namespace of its own, objects in, answers out.
//! Owns no expectation: what must hold is in the other modules.

use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use testbed::folder::workspace_root;
use testbed::parts::control_plane::ControlPlane;
use testbed::parts::injector::{Injector, wait_until_admitting};
use testbed::parts::kwok::Kwok;

/// Controllers need a second or two; a machine that builds meanwhile gets this long.
pub(crate) const BOUND: Duration = Duration::from_secs(90);

/// A control plane with fake nodes and the manifests applied.
pub(crate) struct Bed {
    injector: Option<Injector>,
    _kwok: Kwok,
    pub(crate) control_plane: ControlPlane,
}

/// What kubectl said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) out: String,
    /// Warnings and errors, on one line each.
    pub(crate) err: String,
}

impl Bed {
    /// The one that most tests share. It ends with the test process.
    pub(crate) fn shared() -> &'static Bed {
        static BED: OnceLock<Bed> = OnceLock::new();
        BED.get_or_init(|| {
            let mut bed = Bed::without_webhook();
            bed.start_webhook();
            bed
        })
    }

    /// One of its own, for a test that takes something away; no webhook runs yet.
    pub(crate) fn without_webhook() -> Bed {
        Bed::without_webhook_on(3)
    }

    /// The same with that many nodes.
    pub(crate) fn without_webhook_on(nodes: usize) -> Bed {
        Bed::of_manifests(nodes, &workspace_root().join("manifests"))
    }

    /// The same with other manifests.
    pub(crate) fn of_manifests(nodes: usize, manifests: &Path) -> Bed {
        let bed = Bed::without_manifests(nodes);
        let applied = bed.kubectl(&["apply", "-k", manifests.to_str().unwrap()]);
        assert!(applied.ok, "{}", applied.err);
        bed
    }

    /// One of its own with that many nodes, on which nothing is applied yet.
    pub(crate) fn without_manifests(nodes: usize) -> Bed {
        let control_plane = ControlPlane::start().unwrap();
        let kwok = Kwok::start(&control_plane, nodes).unwrap();
        Bed { injector: None, _kwok: kwok, control_plane }
    }

    /// Starts the webhook and waits until the API server really asks it.
    pub(crate) fn start_webhook(&mut self) {
        let binary = Path::new(env!("CARGO_BIN_EXE_memcached-injector"));
        self.injector = Some(Injector::in_cluster(binary, &self.control_plane).unwrap());
        let namespace = self.namespace(json!({}), json!({}));
        let pod = pod(&namespace, "probe", json!({"memcached.io/mode": "replicated"}));
        wait_until_admitting(&self.control_plane, &pod, is_injected).unwrap();
    }

    /// Stops it; nothing answers any more.
    pub(crate) fn stop_webhook(&mut self) {
        self.injector = None;
    }

    pub(crate) fn injector(&self) -> &Injector {
        self.injector.as_ref().unwrap()
    }

    pub(crate) fn kubectl(&self, args: &[&str]) -> Said {
        let output = self.control_plane.kubectl(args).unwrap();
        Said {
            ok: output.status.success(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs kubectl on `object`, given on a file of its own.
    pub(crate) fn kubectl_on(&self, args: &[&str], object: &Value) -> Said {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("object-{}.json", NEXT.fetch_add(1, Ordering::Relaxed));
        let file = self.control_plane.folder().join(name);
        std::fs::write(&file, object.to_string()).unwrap();
        self.kubectl(&[args, &["--filename", file.to_str().unwrap()]].concat())
    }

    /// A new namespace with these labels and annotations, ready for pods.
    pub(crate) fn namespace(&self, labels: Value, annotations: Value) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("shop-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let metadata = json!({"name": name, "labels": labels, "annotations": annotations});
        let said =
            self.kubectl_on(&["create"], &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}));
        assert!(said.ok, "{}", said.err);
        let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
        self.wait_for("its service account", &account, |account| !account.is_null());
        name
    }

    /// Makes the kinds of the Prometheus operator known.
    pub(crate) fn know_prometheus(&self) {
        self.know("prometheus-crd.yaml", &["monitoring.coreos.com/v1/prometheusrules"]);
    }

    /// Applies the CustomResourceDefinitions of a file beside this one, and waits until their kinds are served.
    pub(crate) fn know(&self, file: &str, kinds: &[&str]) {
        let crds = workspace_root().join("tests/cluster").join(file);
        let said = self.kubectl(&["apply", "--server-side", "-f", crds.to_str().unwrap()]);
        assert!(said.ok, "{}", said.err);
        for kind in kinds {
            self.wait_for(&format!("{kind} to be served"), &format!("/apis/{kind}"), |list| list["items"].is_array());
        }
    }

    /// The folder of a kustomization that adds one of the manifests' components to the recommended install.
    pub(crate) fn overlay(&self, component: &str) -> String {
        let overlay = self.control_plane.folder().join(format!("overlay-{component}"));
        // kustomize takes folders by relative path only.
        copy(&workspace_root().join("manifests"), &overlay.join("manifests"));
        let kustomization = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
            "resources": ["manifests"], "components": [format!("manifests/components/{component}")],
        });
        std::fs::write(overlay.join("kustomization.yaml"), kustomization.to_string()).unwrap();
        overlay.to_str().unwrap().to_owned()
    }

    pub(crate) fn create(&self, object: &Value) -> Said {
        self.kubectl_on(&["create"], object)
    }

    /// Creates `object`, which must be allowed, and returns it as it was stored.
    pub(crate) fn created(&self, object: &Value) -> Value {
        let said = self.kubectl_on(&["create", "--output", "json"], object);
        assert!(said.ok, "{}", said.err);
        serde_json::from_str(&said.out).unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        let (status, object) = self.control_plane.get(path).unwrap();
        if status == 404 { Value::Null } else { object }
    }

    pub(crate) fn wait_for(&self, what: &str, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.control_plane.wait_for(what, path, BOUND, holds).unwrap()
    }

    /// Names of the library ConfigMaps in a namespace.
    pub(crate) fn libraries(&self, namespace: &str) -> Vec<String> {
        let list = self.get(&format!("/api/v1/namespaces/{namespace}/configmaps"));
        let names = list["items"].as_array().unwrap().iter().map(|map| map["metadata"]["name"].as_str().unwrap());
        names.filter(|name| name.starts_with("memcached-proxy-")).map(str::to_owned).collect()
    }

    /// Waits for the pods with label `app: web` in a namespace, at least one, all of which hold.
    pub(crate) fn pods(&self, namespace: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Vec<Value> {
        let path = format!("/api/v1/namespaces/{namespace}/pods?labelSelector=app=web");
        let items = |list: &Value| list["items"].as_array().cloned().unwrap_or_default();
        let list = self.wait_for(what, &path, |list| !items(list).is_empty() && items(list).iter().all(&holds));
        items(&list)
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A pod of one container with these annotations.
pub(crate) fn pod(namespace: &str, name: &str, annotations: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations, "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "app", "image": "shop/web:1.0"}]},
    })
}

/// A pod template that asks for `mode`.
pub(crate) fn template(mode: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": "web"}, "annotations": {"memcached.io/mode": mode}},
        "spec": {"containers": [{"name": "app", "image": "shop/web:1.0"}]},
    })
}

/// Names of the init containers, in order.
pub(crate) fn sidecars(pod: &Value) -> Vec<&str> {
    let list = pod["spec"]["initContainers"].as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().map(|container| container["name"].as_str().unwrap()).collect()
}

pub(crate) fn is_injected(pod: &Value) -> bool {
    pod["metadata"]["labels"]["memcached.io/injected"] == "true" && sidecars(pod).contains(&"memcached-proxy")
}

/// The mode that the status annotation names.
pub(crate) fn mode(pod: &Value) -> String {
    let status = pod["metadata"]["annotations"]["memcached.io/status"].as_str().unwrap_or("{}");
    let status: Value = serde_json::from_str(status).unwrap();
    status["mode"].as_str().unwrap_or_default().to_owned()
}
