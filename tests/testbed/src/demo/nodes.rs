//! `--nodes`: the story on three real Kubernetes nodes, told as a user would type it: apply, a Deployment, traffic, and then
//! the whole node of a cache server dies. Owns its own order; the table and the judgement are those of the other stories.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use testbed::folder::workspace_root;
use testbed::parts::kwok::is_ready;
use testbed::parts::nodes::{Death, Nodes, PodNetwork, SHELL};
use testbed::workload::{Tally, Workload};

use super::story::Story;
use super::traffic::{self, Outcome};
use super::{keep, promise};
use crate::Mode;

/// Real pods start within seconds; a busy machine gets this long.
const BOUND: Duration = Duration::from_secs(120);
/// Traffic: keys, bytes of a value, operations a second, and for how long; the node dies when half of it is over.
const KEYS: usize = 2_000;
const BYTES: usize = 500;
const RATE: u32 = 200;
const LENGTH: Duration = Duration::from_secs(12);

/// Tells the whole story; `true` when the promise was kept.
pub(crate) fn run(keep: bool) -> Result<bool> {
    let mut story = Story::new();
    story.heading("A pod that asks gets its memcached, and it survives the loss of a whole node.");
    story.step("Three real Kubernetes nodes");
    let start = Instant::now();
    let nodes = Nodes::start(3)?;
    let kubectl = |args: &[&str]| nodes.control_plane().kubectl_text(args);
    story.say(&format!("kubelet, containerd and runc on this machine, in {:.1} s.", start.elapsed().as_secs_f64()));
    story.block(&kubectl(&["get", "nodes"])?);
    install(&mut story, &nodes)?;
    let pods = ask(&mut story, &nodes)?;
    let outcome = lose_a_node(&mut story, &nodes, &pods)?;
    story.step("What the app noticed");
    traffic::show(&mut story, &outcome);
    let kept = promise::conclude(&mut story, &[outcome]);
    story.note(&format!("The demo took {} s.", start.elapsed().as_secs()));
    if keep {
        let config = format!("export KUBECONFIG={}", nodes.control_plane().kubeconfig().display());
        let program = nodes.control_plane().kubectl_path().display().to_string();
        let example = format!("{program} get pods --all-namespaces --output wide");
        keep::wait(&mut story, &[("cluster".to_owned(), config), ("kubectl".to_owned(), program)], Some(example))?;
    }
    Ok(kept)
}

/// `kubectl apply -k manifests`, and the wait until all of it is ready.
fn install(story: &mut Story, nodes: &Nodes) -> Result<()> {
    story.step("The install: kubectl apply -k manifests");
    let start = Instant::now();
    let manifests = workspace_root().join("manifests");
    nodes.control_plane().kubectl_text(["apply".as_ref(), "-k".as_ref(), manifests.as_os_str()])?;
    for (path, field, count) in [
        ("/apis/apps/v1/namespaces/cache/statefulsets/memcached", "readyReplicas", 3),
        ("/apis/apps/v1/namespaces/cache/daemonsets/memcached-proxy", "numberReady", 3),
        ("/apis/apps/v1/namespaces/memcached-injector/deployments/memcached-injector", "readyReplicas", 2),
    ] {
        nodes.control_plane().wait_for("the install to be ready", path, BOUND, |set| set["status"][field] == count)?;
    }
    story.say(&format!("Everything is ready by itself after {:.1} s.", start.elapsed().as_secs_f64()));
    story.block(&nodes.control_plane().kubectl_text(["get", "pods", "--all-namespaces", "--output", "wide"])?);
    Ok(())
}

/// A Deployment that asks, and its pods, one on each node.
fn ask(story: &mut Story, nodes: &Nodes) -> Result<Vec<Value>> {
    story.step("A Deployment that asks, by one annotation");
    let labels = json!({"app": "web"});
    let spread = json!([{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": labels},
    }]);
    let app = json!({"name": "app", "image": SHELL, "command": ["sleep", "infinity"]});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": 3, "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": {"memcached.io/mode": "replicated"}},
                "spec": {"containers": [app], "topologySpreadConstraints": spread, "terminationGracePeriodSeconds": 0},
            },
        },
    });
    nodes.control_plane().apply(&deployment.to_string())?;
    let path = "/api/v1/namespaces/default/pods?labelSelector=app=web";
    let list = nodes.control_plane().wait_for("the pods that ask to be ready", path, BOUND, |list| {
        list["items"].as_array().is_some_and(|items| items.len() == 3 && items.iter().all(is_ready))
    })?;
    story.say("Each pod came back from the API server with a proxy, which runs (2/2):");
    story.block(&nodes.control_plane().kubectl_text(["get", "pods", "--output", "wide"])?);
    let mut pods = list["items"].as_array().cloned().unwrap_or_default();
    pods.sort_by_key(|pod| pod["spec"]["nodeName"].to_string());
    Ok(pods)
}

/// Traffic from inside the first pod while the second pod's node dies; the third reads everything back.
fn lose_a_node(story: &mut Story, nodes: &Nodes, pods: &[Value]) -> Result<Outcome> {
    let [app, victim, other] = pods else { return Err(anyhow!("three nodes run {} pods that ask", pods.len())) };
    let node = victim["spec"]["nodeName"].as_str().context("a ready pod has a node")?;
    story.step("A node dies under traffic");
    story.say(&format!(
        "{} s of reads and writes from inside the first pod, {RATE} a second; after half of it the power of {node} is cut:",
        LENGTH.as_secs()
    ));
    story.say("kubelet, containers and a cache server end at once, and its packets vanish without an error.");
    let (app, other) = (PodNetwork::of(app)?, PodNetwork::of(other)?);
    let localhost = "127.0.0.1:11211".parse().context("an address")?;
    let mut workload = Workload::new(localhost, "demo", KEYS, BYTES);
    let mut phases = vec![("write every key", app.run(|| workload.write_all())?)];
    phases.push(("read back on another node", other.run(|| workload.through(localhost).read_all())?));
    phases.push(("a node dies meanwhile", during(&app, &mut workload, || nodes.kill(node, Death::Silent))?));
    phases.push(("read back, one node dead", app.run(|| workload.read_all())?));
    phases.push(("the same on another node", other.run(|| workload.through(localhost).read_all())?));
    Ok(Outcome { mode: Mode::Replicated, phases })
}

/// Mixed traffic; `event` happens on a thread of its own when half of it is over, so that it holds no request up.
fn during(app: &PodNetwork, workload: &mut Workload, event: impl FnOnce() -> Result<()> + Send) -> Result<Tally> {
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        let happening = scope.spawn(move || match told.recv() {
            Ok(()) => event(),
            Err(_) => Err(anyhow!("the traffic ended before its middle")),
        });
        let tally = app.run(move || workload.mixed(LENGTH, RATE, || tell.send(()).unwrap_or_default()));
        happening.join().map_err(|_| anyhow!("killing the node panicked"))??;
        tally
    })
}
