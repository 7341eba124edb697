//! How the demo's pod asks for its memcached: of a webhook alone, or of a real API server. Owns the example Deployment, the
//! question and showing the answer; the control plane is `cluster.rs`'s.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use testbed::admission::{self, Verdict};
use testbed::folder::RunFolder;
use testbed::parts::injector::{Injector, library_config_maps};
use testbed::parts::kubelet::Host;
use testbed::parts::memcached::Server;
use testbed::ports::{self, Port};
use testbed::report::Ink;

use super::cluster::Cluster;
use super::{diff, story::Story};
use crate::Mode;

/// The Deployment that asks; MODE and PORT are filled in.
const DEPLOYMENT: &str = include_str!("deployment.yaml");
/// Its namespace.
pub(super) const NAMESPACE: &str = "shop";

/// Whoever answers for the cluster.
#[derive(Debug)]
pub(super) enum Asker {
    /// The webhook alone: reviews are sent to it over TLS.
    Standalone { injector: Box<Injector>, binary: PathBuf, folder: RunFolder },
    /// A real control plane that sends reviews to the webhook.
    Cluster(Box<Cluster>),
}

/// What came of asking.
#[derive(Debug)]
pub(super) struct Answer {
    /// The pod had it not asked.
    pub before: Value,
    /// The pod as it would be started.
    pub after: Value,
    /// How it went, in lines.
    pub how: Vec<String>,
    /// The ConfigMaps of its namespace, by name.
    pub config_maps: BTreeMap<String, Value>,
}

/// A pod that was admitted.
#[derive(Debug)]
pub(super) struct Asked {
    /// As it would be started.
    pub pod: Value,
    /// The ConfigMaps of its namespace.
    config_maps: BTreeMap<String, Value>,
    /// Its port and the local cache's.
    _ports: Vec<Port>,
}

impl Asked {
    /// What surrounds the pod: its ConfigMaps, and the servers under the names that the built-in cluster has.
    pub(crate) fn host(&self, servers: &[Server]) -> Host {
        let name = |number| format!("memcached-{number}.memcached-headless.cache.svc.cluster.local.:11211");
        let dns = servers.iter().enumerate().map(|(number, server)| (name(number), server.address())).collect();
        Host { dns, config_maps: self.config_maps.clone() }
    }
}

impl Asker {
    /// Starts the webhook with no Kubernetes.
    pub(crate) fn standalone(story: &mut Story, binary: &Path) -> Result<Self> {
        story.step("The webhook");
        let injector = Injector::standalone(binary, &[])?;
        story.say("`memcached-injector webhook`, with a certificate that it made itself. No Kubernetes is needed for this demo;");
        story.say("`cargo demo --cluster` does the same with a real API server.");
        let admission = format!("https://{}", injector.admission_address());
        let health = format!("http://{}/readyz", injector.health_address());
        story.items(&[("admission", admission), ("health", health)]);
        Ok(Self::Standalone {
            injector: Box::new(injector),
            binary: binary.to_owned(),
            folder: RunFolder::new("demo")?,
        })
    }

    /// Starts a control plane, applies the manifests and lets the webhook serve it.
    pub(crate) fn in_cluster(story: &mut Story, binary: &Path) -> Result<Self> {
        Ok(Self::Cluster(Box::new(Cluster::start(story, binary)?)))
    }

    /// Has the pod of a Deployment called `name` admitted and shows it before and after; in brief, shows nothing.
    pub(crate) fn ask(&self, story: &mut Story, mode: Mode, name: &str, brief: bool) -> Result<Asked> {
        let ports = ports::free_run(2)?;
        let port = ports.first().map(Port::number).context("no port was leased")?;
        let yaml = DEPLOYMENT.replace("NAME", name).replace("MODE", mode.name()).replace("PORT", &port.to_string());
        if !brief {
            story.step("A Deployment that asks");
            show(story, &yaml, port);
        }
        let answer = match self {
            Self::Cluster(cluster) => cluster.ask(name, &yaml)?,
            Self::Standalone { injector, binary, folder } => {
                let manifest = folder.write(&format!("{name}.yaml"), &yaml)?;
                review(injector, &yaml, library_config_maps(binary, &manifest)?)?
            }
        };
        let Answer { before, after, how, config_maps } = answer;
        if !brief {
            how.iter().for_each(|line| story.say(line));
            story.say("What it added to the pod (unchanged parts left out):");
            let text = diff::pods(&before, &after, story.style())?;
            story.block(&text);
        }
        Ok(Asked { pod: after, config_maps, _ports: ports })
    }
}

/// The Deployment, with the lines that matter marked.
fn show(story: &mut Story, yaml: &str, port: u16) {
    let style = story.style();
    let mark = |line: &str| {
        if line.contains("memcached.io/mode") {
            format!("{}  # the line that asks", style.paint(Ink::Good, line))
        } else if line.contains("memcached.io/port") {
            format!("{}  # 11211 when left out; here a port that is free on this machine", style.paint(Ink::Dim, line))
        } else {
            line.to_owned()
        }
    };
    let text = yaml.lines().filter(|line| !line.starts_with('#')).map(mark).collect::<Vec<_>>().join("\n");
    story.block(&text);
    story.say(&format!("Its app will find memcached on localhost:{port}."));
}

/// Asks the webhook as an API server would.
fn review(injector: &Injector, yaml: &str, config_maps: BTreeMap<String, Value>) -> Result<Answer> {
    let deployment: Value = serde_saphyr::from_str(yaml).context("read the example Deployment")?;
    let pod = admission::pod_of(&deployment)?;
    let start = Instant::now();
    let verdict = admission::admit(injector, "/inject", &pod, NAMESPACE)?;
    let took = start.elapsed();
    let admitted = match verdict {
        Verdict::Allowed(admitted) => admitted,
        Verdict::Denied(reason) => bail!("the webhook denied the demo's pod: {reason}"),
    };
    let operations = admitted.patch.as_array().map_or(0, Vec::len);
    let bytes = admitted.patch.to_string().len();
    let mut how = vec![format!(
        "Its pod went to the webhook as an AdmissionReview over TLS: allowed in {took:.1?}, \
         a patch of {operations} operations, {bytes} bytes."
    )];
    how.extend(admitted.warnings.iter().map(|warning| format!("warning: {warning}")));
    Ok(Answer { before: pod, after: admitted.pod, how, config_maps })
}
