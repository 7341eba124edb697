//! Puts the CA into our webhook configurations, so that the API server trusts us.
//!
//! By JSON patch with a `test` on the entry's name: server-side apply of a partial list would own the entries and break
//! the next release's apply, and without the test a list that changed meanwhile would get it in the wrong place.

use json_patch::Patch as JsonPatch;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde::de::DeserializeOwned;
use serde_json::json;

/// Which Service is ours.
#[derive(Debug, Clone)]
pub(super) struct Service {
    /// Its name, and that of both webhook configurations.
    pub(super) name: String,
    /// Its namespace.
    pub(super) namespace: String,
}

/// Puts `ca` into every entry of our two configurations that calls us and has another. Returns how many were patched.
///
/// # Errors
/// What the API server says; a configuration that is not there is none.
pub(super) async fn publish(client: &Client, service: &Service, ca: &str) -> Result<usize, kube::Error> {
    let mutating = Api::<MutatingWebhookConfiguration>::all(client.clone());
    let mut patched = 0;
    if let Some(found) = mutating.get_opt(&service.name).await? {
        let entries = found.webhooks.iter().flatten().map(|entry| (&entry.name, &entry.client_config));
        patched += apply(&mutating, service, stale(entries, service, ca)).await?;
    }
    let validating = Api::<ValidatingWebhookConfiguration>::all(client.clone());
    if let Some(found) = validating.get_opt(&service.name).await? {
        let entries = found.webhooks.iter().flatten().map(|entry| (&entry.name, &entry.client_config));
        patched += apply(&validating, service, stale(entries, service, ca)).await?;
    }
    Ok(patched)
}

/// Index and name of the entries that call us with another CA.
fn stale<'a>(
    entries: impl Iterator<Item = (&'a String, &'a WebhookClientConfig)>,
    service: &Service,
    ca: &str,
) -> JsonPatch {
    let wanted = ByteString(ca.as_bytes().to_vec());
    let calls_us = |config: &WebhookClientConfig| {
        config
            .service
            .as_ref()
            .is_some_and(|called| called.name == service.name && called.namespace == service.namespace)
    };
    let operations = entries
        .enumerate()
        .filter(|(_, (_, config))| calls_us(config) && config.ca_bundle.as_ref() != Some(&wanted))
        .flat_map(|(index, (name, _))| {
            [
                json!({"op": "test", "path": format!("/webhooks/{index}/name"), "value": name}),
                json!({"op": "add", "path": format!("/webhooks/{index}/clientConfig/caBundle"), "value": wanted}),
            ]
        });
    serde_json::from_value(operations.collect()).unwrap_or_default()
}

async fn apply<K>(api: &Api<K>, service: &Service, patch: JsonPatch) -> Result<usize, kube::Error>
where
    K: Clone + std::fmt::Debug + DeserializeOwned,
{
    if patch.0.is_empty() {
        return Ok(0);
    }
    api.patch(&service.name, &PatchParams::default(), &Patch::Json::<()>(patch)).await?;
    Ok(1)
}
