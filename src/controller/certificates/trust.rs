//! Which CAs the API server trusts when it calls us: watches our two webhook configurations, and puts our CAs there.
//!
//! By JSON patch with a `test` on the entry's name: server-side apply of a partial list would own the entries and break
//! the next release's apply, and without the test a list that changed meanwhile would get it in the wrong place. The API
//! server notes the one field as ours, which keeps no entry alive that a release drops (tests/cluster/trust.rs).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use json_patch::Patch as JsonPatch;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::api::{Patch, PatchParams};
use kube::runtime::reflector::Store;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::super::replica::{MANAGER, Replica};
use super::super::watch::one;
use crate::certificate::facts::fingerprints;
use crate::webhook::metrics::Metrics;

/// Longest wait for one patch.
const LONGEST: Duration = Duration::from_secs(2);

/// The webhook configurations, and since when each CA has been trusted by all of their entries.
pub(super) struct Trust {
    client: Client,
    replica: Replica,
    mutating: Store<MutatingWebhookConfiguration>,
    validating: Store<ValidatingWebhookConfiguration>,
    since: HashMap<String, Instant>,
}

/// One entry that calls us.
struct Entry<'a> {
    index: usize,
    name: &'a str,
    bundle: Option<&'a ByteString>,
}

impl Trust {
    /// Watches; returns when both are known.
    pub(super) async fn watched(client: Client, replica: &Replica, metrics: &Metrics) -> anyhow::Result<Trust> {
        let name = &replica.service;
        let mutating = one(Api::all(client.clone()), "mutatingwebhookconfigurations", name, metrics);
        let validating = one(Api::all(client.clone()), "validatingwebhookconfigurations", name, metrics);
        mutating.wait_until_ready().await?;
        validating.wait_until_ready().await?;
        Ok(Trust { client, replica: replica.clone(), mutating, validating, since: HashMap::new() })
    }

    /// Looks at what is published now.
    pub(super) fn look(&mut self) {
        let mut bundles = Vec::new();
        self.each(|_, entries| bundles.extend(entries.iter().map(|entry| fingerprints(text(entry.bundle)))));
        let mut everywhere = bundles.first().cloned().unwrap_or_default();
        everywhere.retain(|one| bundles.iter().all(|bundle| bundle.contains(one)));
        self.since.retain(|one, _| everywhere.contains(one));
        for one in everywhere {
            self.since.entry(one).or_insert_with(Instant::now);
        }
    }

    /// Whether every entry has trusted the CA with that fingerprint for at least so long.
    pub(super) fn for_at_least(&self, fingerprint: &str, long: Duration) -> bool {
        self.since.get(fingerprint).is_some_and(|since| since.elapsed() >= long)
    }

    /// Puts `authorities` (PEM) into every entry that calls us and has others. Returns how many configurations changed.
    ///
    /// # Errors
    /// What the API server says. A configuration that is not there is no error.
    pub(super) async fn publish(&self, authorities: &str) -> anyhow::Result<usize> {
        let wanted = ByteString(authorities.as_bytes().to_vec());
        let mut patches = Vec::new();
        self.each(|plural, entries| {
            patches.push((plural, patch_of(&entries, &wanted)));
        });
        let mut changed = 0;
        for (plural, patch) in patches.into_iter().filter(|(_, patch)| !patch.is_empty()) {
            let patch: JsonPatch = serde_json::from_value(Value::Array(patch))?;
            tokio::time::timeout(LONGEST, self.patch(plural, patch)).await??;
            changed += 1;
        }
        Ok(changed)
    }

    async fn patch(&self, plural: &str, patch: JsonPatch) -> Result<(), kube::Error> {
        let (name, patch) = (&self.replica.service, Patch::Json::<()>(patch));
        let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        if plural == "mutating" {
            let api = Api::<MutatingWebhookConfiguration>::all(self.client.clone());
            api.patch(name, &parameters, &patch).await.map(drop)
        } else {
            let api = Api::<ValidatingWebhookConfiguration>::all(self.client.clone());
            api.patch(name, &parameters, &patch).await.map(drop)
        }
    }

    /// Shows each configuration that is there, with its entries that call us.
    fn each(&self, mut show: impl FnMut(&'static str, Vec<Entry<'_>>)) {
        for found in self.mutating.state() {
            let all = found.webhooks.iter().flatten().map(|entry| (entry.name.as_str(), &entry.client_config));
            show("mutating", self.ours(all));
        }
        for found in self.validating.state() {
            let all = found.webhooks.iter().flatten().map(|entry| (entry.name.as_str(), &entry.client_config));
            show("validating", self.ours(all));
        }
    }

    fn ours<'a>(&self, all: impl Iterator<Item = (&'a str, &'a WebhookClientConfig)>) -> Vec<Entry<'a>> {
        let calls_us = |config: &WebhookClientConfig| {
            let service = config.service.as_ref();
            service
                .is_some_and(|called| called.name == self.replica.service && called.namespace == self.replica.namespace)
        };
        all.enumerate()
            .filter(|(_, (_, config))| calls_us(config))
            .map(|(index, (name, config))| Entry { index, name, bundle: config.ca_bundle.as_ref() })
            .collect()
    }
}

fn text(bundle: Option<&ByteString>) -> &str {
    bundle.and_then(|bytes| std::str::from_utf8(&bytes.0).ok()).unwrap_or_default()
}

fn patch_of(entries: &[Entry<'_>], wanted: &ByteString) -> Vec<Value> {
    let stale = entries.iter().filter(|entry| entry.bundle != Some(wanted));
    let operations = stale.flat_map(|entry| {
        let at = format!("/webhooks/{}", entry.index);
        [
            json!({"op": "test", "path": format!("{at}/name"), "value": entry.name}),
            json!({"op": "add", "path": format!("{at}/clientConfig/caBundle"), "value": wanted}),
        ]
    });
    operations.collect()
}
