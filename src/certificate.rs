//! The CA and the serving certificate: made, judged, never stored here and never logged.
//!
//! Where they are kept is the controller's business (a Secret) or the operator's (files). Times are wall clock, so that a
//! machine that slept is judged right. health.rs judges; facts.rs reads what people and other replicas want to know.

pub mod facts;
mod health;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};
use x509_parser::pem::parse_x509_pem;

pub use health::Health;

/// Clocks differ; a certificate that is valid from this second is not yet valid elsewhere.
const BACKDATED: Duration = Duration::HOUR;

/// How long new certificates live. Each is renewed when a third of that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of a CA. Ten years: it is ours alone, and replacing it is what takes care.
    pub ca: Duration,
    /// Of a serving certificate. A year; it never outlives its CA.
    pub serving: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Lifetimes { ca: Duration::days(3650), serving: Duration::days(365) }
    }
}

/// A CA: certificate and key, each as PEM. Has no `Debug`: keys do not belong into logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority {
    /// Its certificate, which goes into the caBundle.
    pub cert: String,
    /// Its key.
    pub key: String,
}

/// CA and serving certificate with their keys, each as PEM. Has no `Debug`: keys do not belong into logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The CA.
    pub ca: Authority,
    /// The serving certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

/// Certificates could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A name that no certificate can hold, or a CA key that can't be read.
    #[error("making certificates: {0}")]
    Made(#[from] rcgen::Error),
    /// The CA's certificate is not one.
    #[error("making certificates: the CA's certificate can't be read")]
    Authority,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn make(lives: Lifetimes, now: OffsetDateTime) -> Result<Authority, CertificateError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        // The date tells two of them apart in a bundle, for people and for verifiers that choose by name.
        params.distinguished_name.push(DnType::CommonName, format!("memcached-injector CA {}", now.unix_timestamp()));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = now - BACKDATED;
        params.not_after = now + lives.ca;
        let cert = params.self_signed(&key)?.pem();
        Ok(Authority { cert, key: key.serialize_pem() })
    }

    /// A serving certificate for `names`.
    ///
    /// # Errors
    /// A CA that can't be read, or a name that no certificate can hold.
    pub fn sign(self, names: &[String], lives: Lifetimes, now: OffsetDateTime) -> Result<Bundle, CertificateError> {
        let (_, own) = parse_x509_pem(self.cert.as_bytes()).map_err(|_| CertificateError::Authority)?;
        let own = own.parse_x509().map_err(|_| CertificateError::Authority)?;
        let issuer = Issuer::from_ca_cert_pem(&self.cert, KeyPair::from_pem(&self.key)?)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "memcached-injector");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = now - BACKDATED;
        params.not_after = (now + lives.serving).min(own.validity().not_after.to_datetime());
        let cert = params.signed_by(&key, &issuer)?.pem();
        Ok(Bundle { cert, key: key.serialize_pem(), ca: self })
    }
}

impl Bundle {
    /// A new CA, and a certificate for `names` signed by it.
    ///
    /// # Errors
    /// A name that no certificate can hold.
    pub fn make(names: &[String], lives: Lifetimes, now: OffsetDateTime) -> Result<Bundle, CertificateError> {
        Authority::make(lives, now)?.sign(names, lives, now)
    }
}

/// The names by which the API server dials a Service.
pub fn service_names(service: &str, namespace: &str) -> Vec<String> {
    vec![format!("{service}.{namespace}.svc"), format!("{service}.{namespace}.svc.cluster.local")]
}
