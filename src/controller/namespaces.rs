//! Knows the namespaces' labels and annotations: from a watch of their metadata, with a live GET for one it has not seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace as KubeNamespace;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{WatchStreamExt as _, reflector, watcher};
use kube::{Api, Client, ResourceExt as _};

use crate::namespace::{Inject, Namespace};
use crate::webhook::metrics::Metrics;

/// All that we need of a namespace: the API server sends no more.
type Metadata = PartialObjectMeta<KubeNamespace>;

/// The namespaces.
#[derive(Clone)]
pub struct Namespaces(Kind);

#[derive(Clone)]
enum Kind {
    Fixed(Arc<BTreeMap<String, Namespace>>),
    Watched { store: Store<Metadata>, client: Client },
}

impl Namespaces {
    /// Told once. A namespace that is not among them has neither label nor annotations.
    pub fn fixed(namespaces: impl IntoIterator<Item = Namespace>) -> Namespaces {
        let by_name = namespaces.into_iter().map(|namespace| (namespace.name.clone(), namespace)).collect();
        Namespaces(Kind::Fixed(Arc::new(by_name)))
    }

    /// Watches; returns when the first list is in.
    ///
    /// # Errors
    /// When the watch ends before that, which it does only when the process does.
    pub async fn watched(client: Client, metrics: Metrics) -> anyhow::Result<Namespaces> {
        let (store, writer) = reflector::store::<Metadata>();
        let events = watcher(Api::<Metadata>::all(client.clone()), watcher::Config::default())
            .modify(|namespace: &mut Metadata| namespace.managed_fields_mut().clear())
            .reflect(writer);
        let (seen, counts) = (store.clone(), metrics.clone());
        let changed = move || {
            let wrong = seen.state().iter().filter(|namespace| is_mislabelled(namespace)).count();
            counts.namespaces_mislabelled.set(i64::try_from(wrong).unwrap_or(i64::MAX));
        };
        tokio::spawn(super::watch::drive("namespaces", events, metrics, changed));
        store.wait_until_ready().await?;
        Ok(Namespaces(Kind::Watched { store, client }))
    }

    /// The namespace of that name.
    ///
    /// # Errors
    /// When the watch has not seen it and the API server does not tell.
    pub async fn get(&self, name: &str) -> Result<Namespace, kube::Error> {
        match &self.0 {
            Kind::Fixed(namespaces) => {
                let unlabelled = || Namespace { name: name.to_owned(), ..Namespace::default() };
                Ok(namespaces.get(name).cloned().unwrap_or_else(unlabelled))
            }
            Kind::Watched { store, client } => {
                if let Some(seen) = store.get(&ObjectRef::new(name)) {
                    return Ok(view(&seen));
                }
                let live = Api::<Metadata>::all(client.clone()).get(name).await?;
                Ok(view(&live))
            }
        }
    }
}

fn view(namespace: &Metadata) -> Namespace {
    Namespace::new(&namespace.name_any(), namespace.labels(), namespace.annotations())
}

fn is_mislabelled(namespace: &Metadata) -> bool {
    namespace.labels().get(crate::names::label::INJECT).is_some_and(|value| Inject::parse(value).is_none())
}
