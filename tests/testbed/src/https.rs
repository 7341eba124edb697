//! A blocking HTTP client for tests: trusts exactly one authority, dials one address whatever the URL's host is.
//! Owns connection set-up and JSON bodies; does not know Kubernetes nor AdmissionReview.
//!
//! Dialling by address under another name is what the API server does with a webhook's Service, so certificates are
//! verified here as they are there.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

/// Bound for one request, connection included.
const REQUEST_BOUND: Duration = Duration::from_secs(15);

/// An HTTP(S) client for one server.
#[derive(Debug, Clone)]
pub struct Client {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

impl Client {
    /// Plain HTTP to `address`.
    pub fn plain(address: SocketAddr) -> Self {
        let config = base_config().build();
        Self {
            agent: ureq::Agent::with_parts(config, DefaultConnector::default(), Fixed(address)),
            base: format!("http://{address}"),
            token: None,
        }
    }

    /// HTTPS to `address`, whose certificate must be for `name` and signed by an authority in the PEM file `ca`.
    ///
    /// # Errors
    /// When the file cannot be read or holds no certificate.
    pub fn tls(address: SocketAddr, name: &str, ca: &Path) -> Result<Self> {
        let pem = fs::read(ca).with_context(|| format!("read the authority {}", ca.display()))?;
        let roots: Vec<Certificate<'static>> = parse_pem(&pem)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        if roots.is_empty() {
            bail!("{} holds no certificate in PEM form", ca.display());
        }
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::new_with_certs(&roots))
            .build();
        let config = base_config().tls_config(tls).build();
        let agent = ureq::Agent::with_parts(config, DefaultConnector::default(), Fixed(address));
        Ok(Self { agent, base: format!("https://{name}:{}", address.port()), token: None })
    }

    /// Sends `token` as a bearer token with every request.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// GET; returns status and body.
    ///
    /// # Errors
    /// When no answer arrives within 15 s (refused, reset, certificate not trusted). Any status is an answer.
    pub fn get(&self, path: &str) -> Result<(u16, String)> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut response = request.call().with_context(|| format!("GET {}{path}", self.base))?;
        let body = response.body_mut().read_to_string().with_context(|| format!("read the answer to GET {path}"))?;
        Ok((response.status().as_u16(), body))
    }

    /// POST of raw bytes with the given content type; returns status and body.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post(&self, path: &str, content_type: &str, body: &[u8]) -> Result<(u16, String)> {
        let mut response = self.send(path, content_type, body)?;
        let body = response.body_mut().read_to_string().with_context(|| format!("read the answer to POST {path}"))?;
        Ok((response.status().as_u16(), body))
    }

    /// POST of raw bytes; returns status and the value of a response header, if the answer has it.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post_for_header(&self, path: &str, body: &[u8], header: &str) -> Result<(u16, Option<String>)> {
        let response = self.send(path, "application/json", body)?;
        let value = response.headers().get(header).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok((response.status().as_u16(), value))
    }

    fn send(&self, path: &str, content_type: &str, body: &[u8]) -> Result<ureq::http::Response<ureq::Body>> {
        let mut request = self.agent.post(format!("{}{path}", self.base)).header("Content-Type", content_type);
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        request.send(body).with_context(|| format!("POST {}{path}", self.base))
    }

    /// PATCH with a JSON merge patch; returns status and body.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn merge_patch(&self, path: &str, patch: &Value) -> Result<(u16, String)> {
        let request = self.agent.patch(format!("{}{path}", self.base));
        let mut request = request.header("Content-Type", "application/merge-patch+json");
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let mut response =
            request.send(patch.to_string().as_bytes()).with_context(|| format!("PATCH {}{path}", self.base))?;
        let body = response.body_mut().read_to_string().with_context(|| format!("read the answer to PATCH {path}"))?;
        Ok((response.status().as_u16(), body))
    }

    /// DELETE; returns the status.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn delete(&self, path: &str) -> Result<u16> {
        let mut request = self.agent.delete(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let response = request.call().with_context(|| format!("DELETE {}{path}", self.base))?;
        Ok(response.status().as_u16())
    }

    /// POST of a JSON value; an answer that is not JSON comes back as a JSON string.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn post_json(&self, path: &str, body: &Value) -> Result<(u16, Value)> {
        let (status, text) = self.post(path, "application/json", body.to_string().as_bytes())?;
        Ok((status, json_or_text(text)))
    }

    /// GET; an answer that is not JSON comes back as a JSON string.
    ///
    /// # Errors
    /// As [`Client::get`].
    pub fn get_json(&self, path: &str) -> Result<(u16, Value)> {
        let (status, text) = self.get(path)?;
        Ok((status, json_or_text(text)))
    }
}

fn json_or_text(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

fn base_config() -> ureq::config::ConfigBuilder<ureq::typestate::AgentScope> {
    // A proxy from the environment must never see this traffic.
    ureq::Agent::config_builder().http_status_as_error(false).proxy(None).timeout_global(Some(REQUEST_BOUND))
}

/// Resolves every name to one address.
#[derive(Debug)]
struct Fixed(SocketAddr);

impl Resolver for Fixed {
    fn resolve(
        &self,
        _: &ureq::http::Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        addresses.push(self.0);
        Ok(addresses)
    }
}
