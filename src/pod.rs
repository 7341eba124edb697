//! The few parts of a pod that decisions need, read from raw JSON.
//!
//! Fields that nobody decides on are not named here, so a pod of a newer Kubernetes passes unharmed. `null` is absent.
//! Nothing is written here: patches are made against the raw document (admission/patch.rs).

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::quantity::Quantity;

/// A pod, or a workload's pod template: the same two parts.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Pod {
    /// Name, annotations and so on.
    #[serde(default)]
    pub metadata: Option<Metadata>,
    /// Containers and how they run.
    #[serde(default)]
    pub spec: Option<Spec>,
}

/// `metadata`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// Empty when a controller lets the API server choose.
    pub name: Option<String>,
    /// What a chosen name begins with.
    pub generate_name: Option<String>,
    /// Values of `null` read as empty.
    pub annotations: Option<BTreeMap<String, Option<String>>>,
    /// Values of `null` read as empty.
    pub labels: Option<BTreeMap<String, Option<String>>>,
}

/// `spec`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// The app.
    pub containers: Option<Vec<Container>>,
    /// Init containers, native sidecars among them.
    pub init_containers: Option<Vec<Container>>,
    /// Only their names matter here.
    pub volumes: Option<Vec<Named>>,
    /// The node's network instead of the pod's own.
    pub host_network: Option<bool>,
    /// `ClusterFirst` unless set.
    pub dns_policy: Option<String>,
    /// `windows` or `linux`.
    pub os: Option<Named>,
    /// The usual way to ask for Windows nodes.
    pub node_selector: Option<BTreeMap<String, Option<String>>>,
    /// Pod-level resources (Kubernetes >= 1.34).
    pub resources: Option<Resources>,
}

/// A container of either list.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Unique within the pod.
    #[serde(default)]
    pub name: String,
    /// Declared ports; an app may listen on others.
    pub ports: Option<Vec<Port>>,
    /// Requests and limits.
    pub resources: Option<Resources>,
    /// `Always` makes an init container a sidecar.
    pub restart_policy: Option<String>,
}

/// A declared port.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// 1 to 65535.
    pub container_port: Option<i64>,
}

/// Anything of which only the name matters.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Named {
    /// Its name.
    #[serde(default)]
    pub name: String,
}

/// Requests and limits by resource name.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Resources {
    /// What the scheduler reserves.
    #[serde(default)]
    pub requests: Option<Quantities>,
    /// What the kernel enforces.
    #[serde(default)]
    pub limits: Option<Quantities>,
}

/// Amounts by resource name.
#[derive(Debug, Clone, Default)]
pub struct Quantities(BTreeMap<String, Quantity>);

impl Quantities {
    /// The amount of `resource`; zero counts as not set, as it does for Kubernetes' QoS classes.
    pub fn get(&self, resource: &str) -> Option<Quantity> {
        self.0.get(resource).copied().filter(|amount| *amount != Quantity::ZERO)
    }
}

impl<'de> Deserialize<'de> for Quantities {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = BTreeMap::<String, Value>::deserialize(deserializer)?;
        raw.into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| {
                let amount = Quantity::from_value(&value)
                    .map_err(|error| serde::de::Error::custom(format!("{name}: {error}")))?;
                Ok((name, amount))
            })
            .collect::<Result<_, _>>()
            .map(Quantities)
    }
}

impl Resources {
    /// The request for `resource`; a limit alone is its request too, as the API server defaults it.
    pub fn request(&self, resource: &str) -> Option<Quantity> {
        let of = |list: &Option<Quantities>| list.as_ref().and_then(|list| list.get(resource));
        of(&self.requests).or_else(|| of(&self.limits))
    }

    /// The limit for `resource`.
    pub fn limit(&self, resource: &str) -> Option<Quantity> {
        self.limits.as_ref().and_then(|limits| limits.get(resource))
    }
}

/// A pod whose JSON does not have the shape of a pod.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct Malformed {
    /// Path of the field, such as `spec.containers[0].name`.
    pub field: String,
    /// What was found and what was expected.
    pub problem: String,
}

impl Pod {
    /// Reads the parts of `raw` that matter.
    ///
    /// # Errors
    /// A field that has another type than Kubernetes gives it, named by its path.
    pub fn read(raw: &Value) -> Result<Pod, Malformed> {
        // serde would read a list as a struct, field by field; a patch made for an object would not fit it.
        for (field, part) in [(".", Some(raw)), ("metadata", raw.get("metadata")), ("spec", raw.get("spec"))] {
            if part.is_some_and(|part| !part.is_object() && !part.is_null()) || (field == "." && raw.is_null()) {
                let problem = "it is not an object".to_owned();
                return Err(Malformed { field: field.to_owned(), problem });
            }
        }
        serde_path_to_error::deserialize(raw)
            .map_err(|error| Malformed { field: error.path().to_string(), problem: error.into_inner().to_string() })
    }

    /// The value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        let annotations = self.metadata.as_ref()?.annotations.as_ref()?;
        annotations.get(key).map(|value| value.as_deref().unwrap_or_default())
    }

    /// Every annotation of ours, by key.
    pub fn our_annotations(&self) -> BTreeMap<&str, &str> {
        let annotations = self.metadata.as_ref().and_then(|metadata| metadata.annotations.as_ref());
        annotations
            .into_iter()
            .flatten()
            .filter(|(key, _)| key.starts_with(crate::names::PREFIX))
            .map(|(key, value)| (key.as_str(), value.as_deref().unwrap_or_default()))
            .collect()
    }

    /// The app's containers.
    pub fn containers(&self) -> &[Container] {
        self.list(|spec| spec.containers.as_deref())
    }

    /// Init containers and sidecars.
    pub fn init_containers(&self) -> &[Container] {
        self.list(|spec| spec.init_containers.as_deref())
    }

    /// Containers of both lists.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.init_containers().iter().chain(self.containers())
    }

    /// Volumes by name.
    pub fn volumes(&self) -> &[Named] {
        self.list(|spec| spec.volumes.as_deref())
    }

    /// Pod-level resources, if any are set.
    pub fn resources(&self) -> Option<&Resources> {
        self.spec.as_ref()?.resources.as_ref()
    }

    /// The pod's name as a person would look for it; `*` stands for what the API server will choose.
    pub fn name(&self) -> String {
        let metadata = self.metadata.as_ref();
        let named = metadata.and_then(|metadata| metadata.name.as_deref()).filter(|name| !name.is_empty());
        let generated = metadata.and_then(|metadata| metadata.generate_name.as_deref());
        match (named, generated) {
            (Some(name), _) => name.to_owned(),
            (None, Some(prefix)) => format!("{prefix}*"),
            (None, None) => "(unnamed)".to_owned(),
        }
    }

    fn list<T>(&self, of: impl Fn(&Spec) -> Option<&[T]>) -> &[T] {
        self.spec.as_ref().and_then(of).unwrap_or_default()
    }
}
