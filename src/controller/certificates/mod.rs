//! Keeps CA and serving certificate in a Secret, serves with them, and has the API server trust them.
//!
//! Every replica follows the Secret, and serves a new certificate only when it has seen that every webhook entry trusts
//! its CA. Only the leader writes: the Secret (rotation.rs says what) and the caBundle (trust.rs says how). When anything
//! of it fails, the last good certificate goes on serving.

mod clock;
mod files;
mod rotation;
mod secret;
mod trust;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum_server::tls_rustls::RustlsConfig;
use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::runtime::reflector::Store;
use kube::{Api, Client};
use time::OffsetDateTime;
use tokio::sync::watch;

use super::lease::Leadership;
use super::replica::Replica;
use super::replicas::Replicas;
use super::trouble::Trouble;
use super::watch::one;
use crate::certificate::facts::{self, fingerprint};
use crate::certificate::{Bundle, Health, Lifetimes, service_names};
use crate::webhook::metrics::{Metrics, ResultLabels};
use crate::webhook::tls;
pub use files::Files;
use rotation::Seen;
use secret::Stored;
use trust::Trust;

/// Pause between two looks. They cost nothing: what is looked at comes by watches.
const EVERY: Duration = Duration::from_millis(500);
/// Longest wait for one write.
const LONGEST: Duration = Duration::from_secs(2);

/// How certificates age.
#[derive(Debug, Clone, Copy)]
pub struct Ageing {
    /// How long new ones live.
    pub lives: Lifetimes,
    /// How long a CA has been published before a certificate of its is served, and how long every replica has served one
    /// before the old CA goes: the time that the slowest API server may take to see a change.
    pub settle: Duration,
}

/// What the certificates' loop is told and tells.
pub(super) struct Around {
    pub(super) client: Client,
    pub(super) replica: Replica,
    pub(super) replicas: Replicas,
    pub(super) leadership: Leadership,
    /// Gets the fingerprint of the CA whose certificate is served.
    pub(super) serving_ca: watch::Sender<String>,
    pub(super) metrics: Metrics,
}

/// Looks after the certificates of one Service.
pub struct Certificates {
    around: Around,
    ageing: Ageing,
    names: Vec<String>,
    api: Api<Secret>,
    secret_name: String,
    store: Store<Secret>,
    trust: Trust,
    /// What the Secret held when it was good last, to put back what somebody deleted.
    known: Option<Stored>,
    served: Bundle,
    tls: RustlsConfig,
    all_serve_since: Option<Instant>,
    troubles: [Trouble; 2],
}

impl Certificates {
    /// Finds or makes the certificates; tries until it has them, because nothing can be served before.
    pub(super) async fn obtain(around: Around, ageing: Ageing) -> anyhow::Result<Certificates> {
        let (client, replica, metrics) = (around.client.clone(), around.replica.clone(), around.metrics.clone());
        let api = Api::<Secret>::namespaced(client.clone(), &replica.namespace);
        let secret_name = format!("{}-tls", replica.service);
        let names = service_names(&replica.service, &replica.namespace);
        let store = one(api.clone(), "secrets", &secret_name, &metrics);
        store.wait_until_ready().await?;
        let mut trouble = Trouble::of("certificate", metrics.clone());
        let first = loop {
            match first(&store, &api, &secret_name, &names, &around, ageing).await {
                Ok(Some(stored)) => break stored,
                Ok(None) => {}
                Err(error) => {
                    trouble.note::<(), _>("there is no certificate to serve with", Err(error));
                }
            }
            tokio::time::sleep(EVERY).await;
        };
        trouble.over();
        let tls = RustlsConfig::from_config(tls::server_config(&first.bundle.cert, &first.bundle.key)?);
        around.serving_ca.send_replace(fingerprint(&first.bundle.ca.cert));
        let trust = Trust::watched(client, &replica, &metrics).await?;
        let troubles = [trouble, Trouble::of("ca-bundle", metrics)];
        let (served, known, all_serve_since) = (first.bundle.clone(), Some(first), None);
        let mut certificates = Certificates {
            around,
            ageing,
            names,
            api,
            secret_name,
            store,
            trust,
            known,
            served,
            tls,
            all_serve_since,
            troubles,
        };
        certificates.tell_expiry();
        certificates.round().await;
        Ok(certificates)
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

    /// One look at everything; what fails is tried again in the next round.
    async fn round(&mut self) {
        self.trust.look();
        let now = OffsetDateTime::now_utc();
        let there = self.store.state().into_iter().next();
        let stored = there.as_ref().map(|secret| Stored::read(secret));
        let followed = self.follow(stored.as_ref(), now);
        let led = if self.around.leadership.is_leading() {
            self.lead(there.as_deref(), stored.as_ref(), now).await
        } else {
            Ok(())
        };
        self.troubles[0].note("the last good certificate goes on serving", led.and(followed));
        if self.around.leadership.is_leading() {
            self.publish().await;
        }
    }

    /// Serves what the Secret holds, once it is good and trusted.
    fn follow(&mut self, stored: Option<&Stored>, now: OffsetDateTime) -> anyhow::Result<()> {
        let stored = stored.with_context(|| format!("Secret {} is gone", self.secret_name))?;
        let bundle = &stored.bundle;
        match bundle.health(&self.names, self.ageing.lives, now) {
            Health::Remake(why) => anyhow::bail!("Secret {}: {why}", self.secret_name),
            Health::RenewServing(why) if *bundle != self.served => anyhow::bail!("Secret {}: {why}", self.secret_name),
            _ => {}
        }
        self.known = Some(stored.clone());
        if bundle.cert == self.served.cert && bundle.key == self.served.key {
            return Ok(());
        }
        let present = fingerprint(&self.served.ca.cert);
        // A certificate that nobody trusts any more may be left at once.
        let trusted = self.trust.for_at_least(&fingerprint(&bundle.ca.cert), self.ageing.settle);
        if trusted || !self.trust.for_at_least(&present, Duration::ZERO) {
            self.tls.reload_from_config(tls::server_config(&bundle.cert, &bundle.key)?);
            self.served = bundle.clone();
            self.around.serving_ca.send_replace(fingerprint(&bundle.ca.cert));
            self.around.metrics.certificate_reloads.inc();
            self.tell_expiry();
            tracing::info!(ca = fingerprint(&bundle.ca.cert), "serving with a new certificate");
        }
        Ok(())
    }

    /// Takes the next step, if there is one.
    async fn lead(
        &mut self,
        there: Option<&Secret>,
        stored: Option<&Stored>,
        now: OffsetDateTime,
    ) -> anyhow::Result<()> {
        let unusable = stored.is_none_or(|stored| stored.bundle.ca.problem().is_some());
        if let (true, Some(known)) = (unusable, &self.known) {
            tracing::warn!(secret = self.secret_name, "the Secret was deleted or broken: it gets back what it held");
            return store(&self.api, there, &self.secret_name, known, false).await;
        }
        let Some(stored) = stored else { return Ok(()) };
        let seen = self.seen(there, stored);
        if stored.previous.is_none() && !stored.authorities().contains(&self.served.ca.cert.as_str()) {
            // An operator put other certificates there: what is served until all have them stays trusted.
            let with_served = Stored { previous: Some(self.served.ca.cert.clone()), ..stored.clone() };
            return store(&self.api, there, &self.secret_name, &with_served, false).await;
        }
        let Some(step) = rotation::next(stored, seen, &self.names, self.ageing.lives, now)? else {
            return Ok(());
        };
        // A step that makes nothing new is right by any clock, but a wrong clock is better seen early than late.
        clock::check(&self.around.client, now).await?;
        tracing::info!(secret = self.secret_name, why = step.why, "a step of the certificates' rotation");
        store(&self.api, there, &self.secret_name, &step.stored, step.grants).await
    }

    fn seen(&mut self, there: Option<&Secret>, stored: &Stored) -> Seen {
        let settle = self.ageing.settle;
        let present = fingerprint(&stored.bundle.ca.cert);
        let living = self.around.replicas.living().unwrap_or_default();
        let all_serve = !living.is_empty() && living.iter().all(|beat| beat.serving_ca == present);
        self.all_serve_since = all_serve.then(|| self.all_serve_since.unwrap_or_else(Instant::now));
        let next = stored.next.as_ref().map(|next| fingerprint(&next.cert));
        Seen {
            next_is_trusted: next.is_some_and(|next| self.trust.for_at_least(&next, settle)),
            all_serve_present: self.all_serve_since.is_some_and(|since| since.elapsed() >= settle),
            asked: there.is_some_and(secret::asks_for_rotation),
        }
    }

    async fn publish(&mut self) {
        let Some(known) = &self.known else { return };
        let mut authorities = known.authorities();
        // What is served stays trusted, whatever somebody did to the Secret.
        if !authorities.contains(&self.served.ca.cert.as_str()) {
            authorities.push(&self.served.ca.cert);
        }
        let published = self.trust.publish(&authorities.concat()).await;
        if !matches!(published, Ok(0)) {
            self.around.metrics.ca_bundle_patches.get_or_create(&ResultLabels::of(&published)).inc();
        }
        if let Some(changed @ 1..) = self.troubles[1].note("the caBundle can't be put in place", published) {
            tracing::info!(changed, "put the caBundle in place");
        }
    }

    fn tell_expiry(&self) {
        if let Some(first) = facts::read(&self.served.cert).ok().and_then(|facts| facts.into_iter().next()) {
            self.around.metrics.certificate_expiry.set(first.not_after.unix_timestamp() as f64);
        }
    }
}

/// The certificates to begin with: whatever the Secret holds that can be served with; else the leader makes some.
async fn first(
    there: &Store<Secret>,
    api: &Api<Secret>,
    name: &str,
    names: &[String],
    around: &Around,
    ageing: Ageing,
) -> anyhow::Result<Option<Stored>> {
    let now = OffsetDateTime::now_utc();
    let secret = there.state().into_iter().next();
    let why = if let Some(secret) = &secret {
        let stored = Stored::read(secret);
        let servable = tls::server_config(&stored.bundle.cert, &stored.bundle.key);
        match (stored.bundle.health(names, ageing.lives, now), servable) {
            (Health::Remake(why), _) => why,
            (_, Err(error)) => error.to_string(),
            // One that is due is better than none; the leader sees to it.
            (_, Ok(_)) => return Ok(Some(stored)),
        }
    } else {
        "it is not there".to_owned()
    };
    if !around.leadership.is_leading() {
        anyhow::bail!("Secret {name}: {why}; waiting for the leader to make it");
    }
    // What is there may be expired by a wrong clock only.
    clock::check(&around.client, now).await?;
    tracing::info!(secret = name, why, "making the CA and the serving certificate");
    let made = rotation::first(names, ageing.lives, now)?;
    store(api, secret.as_deref(), name, &made, false).await?;
    // Used only when the watch shows it stored: another one may have been first.
    Ok(None)
}

/// Writes the Secret on top of the one that was seen.
async fn store(
    api: &Api<Secret>,
    there: Option<&Secret>,
    name: &str,
    stored: &Stored,
    grants: bool,
) -> anyhow::Result<()> {
    let mut secret = there.cloned().unwrap_or_else(|| secret::named(name));
    stored.write(&mut secret);
    if grants {
        secret::take_wish(&mut secret);
    }
    let parameters = PostParams::default();
    let written = match there {
        None => tokio::time::timeout(LONGEST, api.create(&parameters, &secret)).await?,
        Some(_) => tokio::time::timeout(LONGEST, api.replace(name, &parameters, &secret)).await?,
    };
    match written {
        // Somebody was first, ourselves perhaps: the watch will tell.
        Err(kube::Error::Api(status))
            if status.is_conflict() || status.is_already_exists() || status.is_not_found() =>
        {
            Ok(())
        }
        other => other.map(drop).with_context(|| format!("writing Secret {name}")),
    }
}
