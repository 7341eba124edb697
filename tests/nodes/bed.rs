//! The cluster that all tests share: three real nodes with the manifests applied. Owns how tests talk to it; what must hold
//! is in the other modules.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};
use testbed::client::Client;
use testbed::folder::workspace_root;
use testbed::parts::kwok::is_ready;
use testbed::parts::nodes::Nodes;

/// Real pods start within seconds; a machine that builds meanwhile gets this long.
pub(crate) const BOUND: Duration = Duration::from_secs(90);
/// memcached's port everywhere.
pub(crate) const PORT: u16 = 11211;

/// Namespaces of apps begin so.
pub(crate) const APPS: &str = "shop-";

pub(crate) struct Bed {
    pub(crate) nodes: Nodes,
}

impl Bed {
    pub(crate) fn start() -> Result<Self> {
        let bed = Self { nodes: Nodes::start(3)? };
        bed.nodes.control_plane().kubectl_text(["apply", "-k", &manifests()])?;
        Ok(bed)
    }

    /// Runs kubectl, which must succeed, and returns what it printed.
    pub(crate) fn kubectl(&self, args: &[&str]) -> String {
        self.nodes.control_plane().kubectl_text(args).unwrap()
    }

    /// The manifests with components, as a user's own kustomization has them.
    pub(crate) fn overlay(&self, components: &[&str]) -> String {
        let folder = self.nodes.control_plane().folder().join(format!("overlay-{}", components.join("-")));
        std::fs::create_dir_all(&folder).unwrap();
        // kustomize takes folders by relative path only, and reads nothing above its root but what is named so.
        let manifests = Path::new(&manifests()).to_owned();
        let up = "../".repeat(folder.components().count() - 1);
        let relative = format!("{up}{}", manifests.strip_prefix("/").unwrap().display());
        let components: Vec<String> =
            components.iter().map(|component| format!("{relative}/components/{component}")).collect();
        let kustomization = json!({
            "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
            "resources": [relative], "components": components,
        });
        std::fs::write(folder.join("kustomization.yaml"), kustomization.to_string()).unwrap();
        folder.to_str().unwrap().to_owned()
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.nodes.control_plane().get(path).unwrap().1
    }

    pub(crate) fn apply(&self, object: &Value) {
        self.nodes.control_plane().apply(&object.to_string()).unwrap();
    }

    pub(crate) fn wait_for(&self, what: &str, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.nodes.control_plane().wait_for(what, path, BOUND, holds).unwrap()
    }

    /// Waits until caches, proxies and webhook are what the manifests ask for, each container running.
    pub(crate) fn wait_installed(&self) {
        self.caches_ready(BOUND);
        let daemons = "/apis/apps/v1/namespaces/cache/daemonsets/memcached-proxy";
        self.wait_for("a proxy on each node", daemons, |set| set["status"]["numberReady"] == 3);
        let webhook = "/apis/apps/v1/namespaces/memcached-injector/deployments/memcached-injector";
        self.wait_for("two webhook pods", webhook, |set| set["status"]["readyReplicas"] == 2);
        let hooks = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/memcached-injector";
        self.wait_for("the caBundle", hooks, |hooks| !hooks["webhooks"][0]["clientConfig"]["caBundle"].is_null());
    }

    /// Waits until every cache server that is wanted is ready, and returns how many these are.
    pub(crate) fn caches_ready(&self, bound: Duration) -> usize {
        let set = "/apis/apps/v1/namespaces/cache/statefulsets/memcached";
        let ready = |set: &Value| set["status"]["readyReplicas"] == set["spec"]["replicas"];
        let wait = self.nodes.control_plane().wait_for("the cache servers to be ready", set, bound, |set| {
            !set.is_null() && set["status"]["observedGeneration"] == set["metadata"]["generation"] && ready(set)
        });
        let replicas = wait.unwrap()["spec"]["replicas"].as_u64();
        usize::try_from(replicas.expect("a StatefulSet has replicas")).unwrap()
    }

    /// A namespace of its own for a test, with Pod Security `restricted` in force.
    pub(crate) fn namespace(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("{APPS}{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let labels = json!({"pod-security.kubernetes.io/enforce": "restricted"});
        self.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}));
        let account = format!("/api/v1/namespaces/{name}/serviceaccounts/default");
        self.wait_for("its service account", &account, |account| account["kind"] == "ServiceAccount");
        name
    }

    /// Ends every app, so that the machine is the next test's.
    pub(crate) fn clear_apps(&self) {
        let list = self.get("/api/v1/namespaces");
        let names = list["items"].as_array().into_iter().flatten().map(name_of);
        for namespace in names.filter(|name| name.starts_with(APPS)) {
            // The one of the test before may be gone by now.
            self.kubectl(&["delete", "namespace", namespace, "--wait=false", "--ignore-not-found"]);
        }
    }

    /// Waits until there are `count` pods with a label, all ready and none on its way out, and returns them by node.
    pub(crate) fn pods(&self, namespace: &str, label: &str, count: usize) -> Vec<Value> {
        let path = format!("/api/v1/namespaces/{namespace}/pods?labelSelector={label}");
        let items = |list: &Value| list["items"].as_array().cloned().unwrap_or_default();
        let alive = |pod: &Value| pod["metadata"]["deletionTimestamp"].is_null() && is_ready(pod);
        let what = format!("{count} ready pods {namespace}/{label}");
        let list = self.wait_for(&what, &path, |list| items(list).len() == count && items(list).iter().all(alive));
        let mut pods = items(&list);
        pods.sort_by_key(|pod| node_of(pod).to_owned());
        pods
    }

    /// The cache server `memcached-<number>`, directly.
    pub(crate) fn cache(&self, number: usize) -> Client {
        let path = format!("/api/v1/namespaces/cache/pods/memcached-{number}");
        let pod = self.wait_for("its address", &path, |pod| pod["status"]["podIP"].is_string());
        Client::new(address_of(&pod))
    }

    /// What is running and what was said about it, for a test that failed.
    pub(crate) fn describe(&self) -> String {
        let pods = self.nodes.control_plane().kubectl_text(["get", "pods,nodes", "-A", "-o", "wide"]);
        let warnings = "--field-selector=type=Warning,involvedObject.kind=Pod";
        let events = self.nodes.control_plane().kubectl_text(["get", "events", "-A", warnings]);
        let said = |text: Result<String>| text.unwrap_or_else(|error| format!("{error:#}"));
        format!("{}\n{}", said(pods), said(events))
    }
}

pub(crate) fn manifests() -> String {
    workspace_root().join("manifests").to_str().unwrap().to_owned()
}

pub(crate) fn node_of(pod: &Value) -> &str {
    pod["spec"]["nodeName"].as_str().unwrap()
}

pub(crate) fn name_of(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap()
}

/// Where a pod's memcached is reached from outside of the pod.
pub(crate) fn address_of(pod: &Value) -> SocketAddr {
    let address: IpAddr = pod["status"]["podIP"].as_str().unwrap().parse().unwrap();
    SocketAddr::new(address, PORT)
}
