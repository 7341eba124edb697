//! Keeps CA and serving certificate in a Secret, serves with them, and has the API server trust them.
//!
//! Whichever replica comes first makes them; the others find them. Every replica runs this loop and all come to the same
//! end: there is nothing to lead yet.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use axum_server::tls_rustls::RustlsConfig;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use time::OffsetDateTime;

use super::ca_bundle::{self, Service};
use crate::certificate::{Bundle, Health, service_names};
use crate::webhook::metrics::{Metrics, ResultLabels};
use crate::webhook::tls;

/// A caBundle that someone broke is whole again after that, at the latest.
const EVERY: Duration = Duration::from_secs(5);

/// Keys of the Secret, in the order of the bundle's parts.
const KEYS: [&str; 4] = ["ca.crt", "ca.key", "tls.crt", "tls.key"];

/// Looks after the certificates of one Service.
pub struct Certificates {
    client: Client,
    service: Service,
    metrics: Metrics,
    served: Bundle,
    tls: RustlsConfig,
}

impl Certificates {
    /// Finds or makes the certificates; tries until it has them, because nothing can be served before.
    pub async fn obtain(client: Client, service: &str, namespace: &str, metrics: Metrics) -> Certificates {
        let service = Service { name: service.to_owned(), namespace: namespace.to_owned() };
        loop {
            match first(&client, &service).await {
                Ok((served, tls)) => {
                    let mut certificates = Certificates { client, service, metrics, served, tls };
                    certificates.round().await;
                    return certificates;
                }
                Err(error) => {
                    metrics.certificate_rounds.get_or_create(&ResultLabels { result: "error" }).inc();
                    tracing::warn!(error = format!("{error:#}"), "no certificate yet; trying again");
                    tokio::time::sleep(EVERY).await;
                }
            }
        }
    }

    /// What to serve with. Follows what this loop finds later.
    pub fn tls(&self) -> RustlsConfig {
        self.tls.clone()
    }

    /// Goes round for ever.
    pub async fn keep(mut self) {
        loop {
            tokio::time::sleep(EVERY).await;
            self.round().await;
        }
    }

    /// One look at everything; what fails is tried again in the next round, and the last good certificate goes on serving.
    async fn round(&mut self) {
        let result = self.refresh().await;
        self.metrics.certificate_rounds.get_or_create(&ResultLabels::of(&result)).inc();
        if let Err(error) = result {
            tracing::warn!(error = format!("{error:#}"), "the last good certificate goes on serving");
        }
        let published = ca_bundle::publish(&self.client, &self.service, &self.served.ca_cert).await;
        match &published {
            Ok(0) => return,
            Ok(patched) => tracing::info!(patched, "put the caBundle in place"),
            Err(error) => {
                tracing::warn!(%error, "the caBundle could not be put in place; trying again")
            }
        }
        self.metrics.ca_bundle_patches.get_or_create(&ResultLabels::of(&published)).inc();
    }

    async fn refresh(&mut self) -> anyhow::Result<()> {
        let found = find_or_make(&self.client, &self.service).await?;
        if found != self.served {
            self.tls.reload_from_config(tls::server_config(&found.cert, &found.key)?);
            self.served = found;
            tracing::info!("serving with a new certificate");
        }
        let names = service_names(&self.service.name, &self.service.namespace);
        if let Health::Good { expires } = self.served.health(&names, OffsetDateTime::now_utc()) {
            self.metrics.certificate_expiry.set(expires.unix_timestamp() as f64);
        }
        Ok(())
    }
}

async fn first(client: &Client, service: &Service) -> anyhow::Result<(Bundle, RustlsConfig)> {
    let bundle = find_or_make(client, service).await?;
    let tls = RustlsConfig::from_config(tls::server_config(&bundle.cert, &bundle.key)?);
    Ok((bundle, tls))
}

/// The Secret's certificates, if they are good; else new ones, stored first and used only when they are stored.
async fn find_or_make(client: &Client, service: &Service) -> anyhow::Result<Bundle> {
    let api = Api::<Secret>::namespaced(client.clone(), &service.namespace);
    let name = format!("{}-tls", service.name);
    let names = service_names(&service.name, &service.namespace);
    let now = OffsetDateTime::now_utc();
    let secret = api.get_opt(&name).await.with_context(|| format!("reading Secret {name}"))?;
    let Some(mut secret) = secret else {
        let bundle = Bundle::make(&names, now)?;
        let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
        let secret = Secret { metadata, data: Some(to_data(&bundle)), ..Secret::default() };
        // When another replica was first this fails, and the next round finds what that one made.
        api.create(&PostParams::default(), &secret).await.with_context(|| format!("creating Secret {name}"))?;
        tracing::info!(secret = name, "made the CA and the serving certificate");
        return Ok(bundle);
    };
    let stored = from_data(secret.data.as_ref());
    let bundle = match stored.health(&names, now) {
        Health::Good { .. } => return Ok(stored),
        Health::RenewServing(reason) => {
            tracing::info!(reason, "making a new serving certificate");
            stored.renew_serving(&names, now)?
        }
        Health::Remake(reason) => {
            tracing::warn!(reason, "making a new CA and serving certificate");
            Bundle::make(&names, now)?
        }
    };
    secret.data.get_or_insert_default().extend(to_data(&bundle));
    // With the resourceVersion that was read: when another replica was first this fails, as above.
    api.replace(&name, &PostParams::default(), &secret).await.with_context(|| format!("updating Secret {name}"))?;
    Ok(bundle)
}

fn to_data(bundle: &Bundle) -> BTreeMap<String, ByteString> {
    let parts = [&bundle.ca_cert, &bundle.ca_key, &bundle.cert, &bundle.key];
    KEYS.into_iter().zip(parts).map(|(key, part)| (key.to_owned(), ByteString(part.clone().into_bytes()))).collect()
}

/// What is missing or no text is empty, and an empty part is never good.
fn from_data(data: Option<&BTreeMap<String, ByteString>>) -> Bundle {
    let part = |key: &str| {
        let bytes = data.and_then(|data| data.get(key)).map(|bytes| bytes.0.clone());
        bytes.and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_default()
    };
    let [ca_cert, ca_key, cert, key] = KEYS.map(part);
    Bundle { ca_cert, ca_key, cert, key }
}
