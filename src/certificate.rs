//! The CA and the serving certificate: made, judged, never stored here and never logged.
//!
//! Where they are kept is the controller's business (a Secret) or the operator's (files). Times are wall clock, so that a
//! machine that slept is judged right.

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{GeneralName, X509Certificate};

/// Life of the CA: it is ours alone, and replacing it is what hurts.
const CA_LIFE: Duration = Duration::days(3650);
/// Life of the serving certificate.
const SERVING_LIFE: Duration = Duration::days(365);
/// Clocks differ; a certificate that is valid from this second is not yet valid elsewhere.
const BACKDATED: Duration = Duration::HOUR;

/// CA and serving certificate with their keys, each as PEM. Has no `Debug`: keys do not belong into logs.
#[derive(Clone, PartialEq, Eq)]
pub struct Bundle {
    /// The CA's certificate, which goes into the caBundle.
    pub ca_cert: String,
    /// The CA's key.
    pub ca_key: String,
    /// The serving certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

/// What is to be done about a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Nothing until then.
    Good {
        /// End of the serving certificate.
        expires: OffsetDateTime,
    },
    /// The serving certificate must be made anew; the CA is good.
    RenewServing(String),
    /// Both must be.
    Remake(String),
}

/// Certificates could not be made.
#[derive(Debug, thiserror::Error)]
#[error("making certificates: {0}")]
pub struct CertificateError(#[from] rcgen::Error);

impl Bundle {
    /// A new CA, and a certificate for `names` signed by it.
    ///
    /// # Errors
    /// A name that no certificate can hold.
    pub fn make(names: &[String], now: OffsetDateTime) -> Result<Bundle, CertificateError> {
        let ca_key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "memcached-injector CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = now - BACKDATED;
        params.not_after = now + CA_LIFE;
        let ca_cert = params.self_signed(&ca_key)?.pem();
        let empty = Bundle { ca_cert, ca_key: ca_key.serialize_pem(), cert: String::new(), key: String::new() };
        empty.renew_serving(names, now)
    }

    /// The same CA with a new serving certificate.
    ///
    /// # Errors
    /// A CA that can't be read, or a name that no certificate can hold.
    pub fn renew_serving(&self, names: &[String], now: OffsetDateTime) -> Result<Bundle, CertificateError> {
        let issuer = Issuer::from_ca_cert_pem(&self.ca_cert, KeyPair::from_pem(&self.ca_key)?)?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name.push(DnType::CommonName, "memcached-injector");
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = now - BACKDATED;
        params.not_after = now + SERVING_LIFE;
        let cert = params.signed_by(&key, &issuer)?.pem();
        Ok(Bundle { cert, key: key.serialize_pem(), ..self.clone() })
    }

    /// Judges the bundle for serving `names` at the time `now`: renewed at two thirds of life.
    pub fn health(&self, names: &[String], now: OffsetDateTime) -> Health {
        let Ok((_, ca)) = parse_x509_pem(self.ca_cert.as_bytes()) else {
            return Health::Remake("the CA certificate is no PEM".to_owned());
        };
        let Ok(ca) = ca.parse_x509() else {
            return Health::Remake("the CA certificate can't be read".to_owned());
        };
        let same_key = KeyPair::from_pem(&self.ca_key)
            .is_ok_and(|key| key.public_key_raw() == ca.public_key().subject_public_key.data.as_ref());
        if !same_key {
            return Health::Remake("the CA's key does not belong to its certificate".to_owned());
        }
        if is_due(&ca, now) {
            return Health::Remake("the CA is past two thirds of its life, or not yet valid".to_owned());
        }
        let Ok((_, serving)) = parse_x509_pem(self.cert.as_bytes()) else {
            return Health::RenewServing("the serving certificate is no PEM".to_owned());
        };
        let Ok(serving) = serving.parse_x509() else {
            return Health::RenewServing("the serving certificate can't be read".to_owned());
        };
        match self.serving_problem(&ca, &serving, names, now) {
            Some(problem) => Health::RenewServing(problem.to_owned()),
            None => Health::Good { expires: serving.validity().not_after.to_datetime() },
        }
    }

    fn serving_problem(
        &self,
        ca: &X509Certificate<'_>,
        serving: &X509Certificate<'_>,
        names: &[String],
        now: OffsetDateTime,
    ) -> Option<&'static str> {
        let same_key = KeyPair::from_pem(&self.key)
            .is_ok_and(|key| key.public_key_raw() == serving.public_key().subject_public_key.data.as_ref());
        if !same_key {
            Some("the serving key does not belong to its certificate")
        } else if serving.verify_signature(Some(ca.public_key())).is_err() {
            Some("the serving certificate is not signed by the CA")
        } else if !names.iter().all(|name| has_name(serving, name)) {
            Some("the serving certificate lacks one of the names that it must have")
        } else if is_due(serving, now) {
            Some("the serving certificate is past two thirds of its life, or not yet valid")
        } else {
            None
        }
    }
}

fn is_due(certificate: &X509Certificate<'_>, now: OffsetDateTime) -> bool {
    let (from, until) =
        (certificate.validity().not_before.to_datetime(), certificate.validity().not_after.to_datetime());
    now < from || now >= from + (until - from) * 2 / 3
}

fn has_name(certificate: &X509Certificate<'_>, name: &str) -> bool {
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return false;
    };
    names.value.general_names.iter().any(|other| match other {
        GeneralName::DNSName(other) => *other == name,
        GeneralName::IPAddress(bytes) => match name.parse() {
            Ok(std::net::IpAddr::V4(address)) => address.octets() == **bytes,
            Ok(std::net::IpAddr::V6(address)) => address.octets() == **bytes,
            Err(_) => false,
        },
        _ => false,
    })
}

/// The names by which the API server dials a Service.
pub fn service_names(service: &str, namespace: &str) -> Vec<String> {
    vec![format!("{service}.{namespace}.svc"), format!("{service}.{namespace}.svc.cluster.local")]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names() -> Vec<String> {
        service_names("memcached-injector", "memcached-injector")
    }

    #[test]
    fn a_new_bundle_is_good_until_two_thirds_of_its_life() {
        let now = OffsetDateTime::now_utc();
        let bundle = Bundle::make(&names(), now).unwrap();
        assert!(matches!(bundle.health(&names(), now), Health::Good { .. }));
        assert!(matches!(bundle.health(&names(), now + Duration::days(242)), Health::Good { .. }));
        assert!(matches!(bundle.health(&names(), now + Duration::days(244)), Health::RenewServing(_)));
        assert!(matches!(bundle.health(&names(), now + Duration::days(2440)), Health::Remake(_)));
        assert!(matches!(bundle.health(&names(), now - Duration::days(1)), Health::Remake(_)));
    }

    #[test]
    fn a_serving_certificate_is_renewed_under_the_same_ca() {
        let now = OffsetDateTime::now_utc();
        let old = Bundle::make(&names(), now).unwrap();
        let later = now + Duration::days(300);
        let new = old.renew_serving(&names(), later).unwrap();
        assert!(new.ca_cert == old.ca_cert && new.cert != old.cert);
        assert!(matches!(new.health(&names(), later), Health::Good { .. }));
    }

    #[test]
    fn garbage_and_mixed_up_parts_are_never_good() {
        let now = OffsetDateTime::now_utc();
        let (one, two) = (Bundle::make(&names(), now).unwrap(), Bundle::make(&names(), now).unwrap());
        let garbage = Bundle { ca_cert: "garbage".into(), ..one.clone() };
        assert!(matches!(garbage.health(&names(), now), Health::Remake(_)));
        let other_ca_key = Bundle { ca_key: two.ca_key.clone(), ..one.clone() };
        assert!(matches!(other_ca_key.health(&names(), now), Health::Remake(_)));
        let other_leaf = Bundle { cert: two.cert.clone(), key: two.key.clone(), ..one.clone() };
        assert!(matches!(other_leaf.health(&names(), now), Health::RenewServing(_)));
        let other_key = Bundle { key: two.key.clone(), ..one.clone() };
        assert!(matches!(other_key.health(&names(), now), Health::RenewServing(_)));
        assert!(matches!(one.health(&["other".into()], now), Health::RenewServing(_)));
    }
}
