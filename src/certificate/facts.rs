//! What certificates say of themselves: for people (`certs show`), and to compare what replicas serve and trust. Judges
//! nothing.

use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use x509_parser::pem::Pem;
use x509_parser::prelude::GeneralName;

/// One certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whose it is.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// DNS names and IP addresses that it is for.
    pub names: Vec<String>,
    /// May sign others.
    pub is_ca: bool,
    /// Valid from.
    pub not_before: OffsetDateTime,
    /// Valid until.
    pub not_after: OffsetDateTime,
    /// See [`fingerprint`].
    pub fingerprint: String,
}

/// Why a text has no facts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// No certificate in it.
    #[error("there is no certificate in PEM form (-----BEGIN CERTIFICATE-----) in it")]
    Empty,
    /// A certificate that can't be read, counted from 1.
    #[error("certificate {0} in it can't be read: {1}")]
    Broken(usize, String),
}

/// Facts of every certificate in a PEM text; keys in it are passed over.
///
/// # Errors
/// When there is none, or one can't be read.
pub fn read(pem: &str) -> Result<Vec<Facts>, FactsError> {
    let mut all = Vec::new();
    for (index, block) in Pem::iter_from_buffer(pem.as_bytes()).enumerate() {
        let block = block.map_err(|error| FactsError::Broken(index + 1, error.to_string()))?;
        if block.label == "CERTIFICATE" {
            all.push(one(&block).map_err(|error| FactsError::Broken(index + 1, error))?);
        }
    }
    if all.is_empty() { Err(FactsError::Empty) } else { Ok(all) }
}

/// The first 16 hexadecimal digits of the SHA-256 of each certificate in a PEM text, in order; what can't be read is left out.
pub fn fingerprints(pem: &str) -> Vec<String> {
    let blocks = Pem::iter_from_buffer(pem.as_bytes()).filter_map(Result::ok);
    blocks.filter(|block| block.label == "CERTIFICATE").map(|block| digest(&block.contents)).collect()
}

/// The fingerprint of the first certificate in a PEM text; empty when there is none.
pub fn fingerprint(pem: &str) -> String {
    fingerprints(pem).into_iter().next().unwrap_or_default()
}

fn digest(der: &[u8]) -> String {
    Sha256::digest(der).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

fn one(block: &Pem) -> Result<Facts, String> {
    let certificate = block.parse_x509().map_err(|error| error.to_string())?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|names| names.value.general_names.iter().map(shown).collect()).unwrap_or_default();
    Ok(Facts {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        names,
        is_ca: certificate.is_ca(),
        not_before: certificate.validity().not_before.to_datetime(),
        not_after: certificate.validity().not_after.to_datetime(),
        fingerprint: digest(&block.contents),
    })
}

fn shown(name: &GeneralName<'_>) -> String {
    match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => match **bytes {
            [a, b, c, d] => std::net::Ipv4Addr::new(a, b, c, d).to_string(),
            ref six => <[u8; 16]>::try_from(six).map_or_else(
                |_| "an address of unknown kind".to_owned(),
                |six| std::net::Ipv6Addr::from(six).to_string(),
            ),
        },
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::{Bundle, Lifetimes};
    use super::*;

    #[test]
    fn a_bundle_of_two_is_read_as_two_and_told_apart() {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let now = OffsetDateTime::now_utc();
        let one = Bundle::make(&names, Lifetimes::default(), now).unwrap();
        let two = Bundle::make(&names, Lifetimes::default(), now).unwrap();
        let both = format!("{}{}{}", one.ca.cert, one.key, two.cert);
        let facts = read(&both).unwrap();
        assert_eq!(facts.len(), 2);
        assert!(facts[0].is_ca && !facts[1].is_ca);
        assert_eq!(facts[1].names, names);
        assert_eq!(fingerprints(&both), [facts[0].fingerprint.clone(), facts[1].fingerprint.clone()]);
        assert_ne!(fingerprint(&one.ca.cert), fingerprint(&two.ca.cert));
    }

    #[test]
    fn what_holds_no_certificate_is_said_to() {
        let now = OffsetDateTime::now_utc();
        let bundle = Bundle::make(&["a".to_owned()], Lifetimes::default(), now).unwrap();
        assert_eq!(read(&bundle.key), Err(FactsError::Empty));
        assert_eq!(read("garbage"), Err(FactsError::Empty));
        assert_eq!(fingerprint(""), "");
        let garbage = "-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n";
        assert!(matches!(read(garbage), Err(FactsError::Broken(1, _))));
    }
}
