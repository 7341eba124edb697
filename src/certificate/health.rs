//! Judges certificates by wall clock: what is broken, what is due, what is good. Makes none.

use rcgen::KeyPair;
use time::{Duration, OffsetDateTime};
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::{GeneralName, X509Certificate};

use super::{Authority, Bundle, Lifetimes};

/// What is to be done about a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Nothing until then.
    Good {
        /// End of the serving certificate.
        expires: OffsetDateTime,
    },
    /// It serves, but its CA must be followed by another; with why.
    RenewCa(String),
    /// The serving certificate must be made anew; the CA is good. With why.
    RenewServing(String),
    /// Nothing of it can be used, with why.
    Remake(String),
}

impl Authority {
    /// Why it can't sign, if it can't. Its age is no reason.
    pub fn problem(&self) -> Option<&'static str> {
        let Ok((_, ca)) = parse_x509_pem(self.cert.as_bytes()) else {
            return Some("the CA certificate is no PEM");
        };
        let Ok(ca) = ca.parse_x509() else {
            return Some("the CA certificate can't be read");
        };
        let same_key = KeyPair::from_pem(&self.key)
            .is_ok_and(|key| key.public_key_raw() == ca.public_key().subject_public_key.data.as_ref());
        (!same_key).then_some("the CA's key does not belong to its certificate")
    }
}

impl Bundle {
    /// Judges the bundle for serving `names` at the time `now`. What can't be read comes before what is due.
    pub fn health(&self, names: &[String], lives: Lifetimes, now: OffsetDateTime) -> Health {
        if let Some(problem) = self.ca.problem() {
            return Health::Remake(problem.to_owned());
        }
        // Read a moment ago.
        let Ok((_, ca)) = parse_x509_pem(self.ca.cert.as_bytes()) else {
            return Health::Remake("the CA certificate is no PEM".to_owned());
        };
        let Ok(ca) = ca.parse_x509() else {
            return Health::Remake("the CA certificate can't be read".to_owned());
        };
        let ca_due = due(&ca, lives.ca, now);
        // A CA that has ended signs nothing that would be accepted.
        let ended = now >= ca.validity().not_after.to_datetime();
        match (self.serving(&ca, names, lives, now), ca_due) {
            (Err(_), Some(why)) if ended => Health::RenewCa(format!("the CA {why}")),
            (Err(problem), _) => Health::RenewServing(problem),
            (Ok(_), Some(why)) => Health::RenewCa(format!("the CA {why}")),
            (Ok(expires), None) => Health::Good { expires },
        }
    }

    /// When the serving certificate ends, or why it can't serve on.
    fn serving(
        &self,
        ca: &X509Certificate<'_>,
        names: &[String],
        lives: Lifetimes,
        now: OffsetDateTime,
    ) -> Result<OffsetDateTime, String> {
        let (_, serving) =
            parse_x509_pem(self.cert.as_bytes()).map_err(|_| "the serving certificate is no PEM".to_owned())?;
        let serving = serving.parse_x509().map_err(|_| "the serving certificate can't be read".to_owned())?;
        let same_key = KeyPair::from_pem(&self.key)
            .is_ok_and(|key| key.public_key_raw() == serving.public_key().subject_public_key.data.as_ref());
        let expires = serving.validity().not_after.to_datetime();
        // One that ends with its CA can't be made to live longer: the CA's own renewal replaces it.
        let renewable = expires < ca.validity().not_after.to_datetime();
        if !same_key {
            Err("the serving key does not belong to its certificate".to_owned())
        } else if serving.verify_signature(Some(ca.public_key())).is_err() {
            Err("the serving certificate is not signed by the CA".to_owned())
        } else if !names.iter().all(|name| has_name(&serving, name)) {
            Err("the serving certificate lacks one of the names that it must have".to_owned())
        } else if let Some(why) = due(&serving, lives.serving, now).filter(|_| renewable) {
            Err(format!("the serving certificate {why}"))
        } else {
            Ok(expires)
        }
    }
}

/// Why a certificate of that life is to be renewed now, if it is: at two thirds of its life. Counted from its end, because
/// its beginning is backdated.
fn due(certificate: &X509Certificate<'_>, life: Duration, now: OffsetDateTime) -> Option<&'static str> {
    let from = certificate.validity().not_before.to_datetime();
    let until = certificate.validity().not_after.to_datetime();
    if now < from {
        Some("is not yet valid, by this machine's clock")
    } else if now >= until {
        Some("has ended")
    } else if now >= until - life / 3 {
        Some("is past two thirds of its life")
    } else {
        None
    }
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::service_names;
    use super::*;

    fn names() -> Vec<String> {
        service_names("memcached-injector", "memcached-injector")
    }

    fn made(now: OffsetDateTime) -> Bundle {
        Bundle::make(&names(), Lifetimes::default(), now).unwrap()
    }

    #[test]
    fn every_age_and_every_clock_has_its_judgement() {
        let (now, lives) = (OffsetDateTime::now_utc(), Lifetimes::default());
        let bundle = made(now);
        let at = |days: i64| bundle.health(&names(), lives, now + Duration::days(days));
        assert!(matches!(at(0), Health::Good { .. }));
        assert!(matches!(at(242), Health::Good { .. }));
        assert!(matches!(at(244), Health::RenewServing(_)), "two thirds of the serving certificate's life");
        assert!(matches!(at(2440), Health::RenewServing(_)), "what can't serve is mended before the CA is followed");
        assert!(matches!(at(4000), Health::RenewCa(_)), "a CA that has ended can't mend anything");
        let behind = at(-1);
        assert!(matches!(&behind, Health::RenewServing(why) if why.contains("clock")), "{behind:?}");
    }

    #[test]
    fn a_ca_past_two_thirds_is_followed_while_its_certificate_serves_on() {
        let (now, lives) = (OffsetDateTime::now_utc(), Lifetimes::default());
        let old = made(now);
        let later = now + Duration::days(2440);
        let renewed = old.ca.clone().sign(&names(), lives, later).unwrap();
        assert!(matches!(renewed.health(&names(), lives, later), Health::RenewCa(_)));
    }

    #[test]
    fn lives_of_seconds_do_not_renew_in_circles() {
        let now = OffsetDateTime::now_utc();
        let lives = Lifetimes { ca: Duration::seconds(30), serving: Duration::seconds(30) };
        let bundle = Bundle::make(&names(), lives, now).unwrap();
        assert!(matches!(bundle.health(&names(), lives, now + Duration::seconds(19)), Health::Good { .. }));
        assert!(matches!(bundle.health(&names(), lives, now + Duration::seconds(21)), Health::RenewCa(_)));
        let renewed = bundle.ca.clone().sign(&names(), lives, now + Duration::seconds(21)).unwrap();
        assert!(matches!(renewed.health(&names(), lives, now + Duration::seconds(22)), Health::RenewCa(_)));
    }

    #[test]
    fn a_serving_certificate_is_renewed_under_the_same_ca() {
        let (now, lives) = (OffsetDateTime::now_utc(), Lifetimes::default());
        let old = made(now);
        let later = now + Duration::days(300);
        let new = old.ca.clone().sign(&names(), lives, later).unwrap();
        assert!(new.ca == old.ca && new.cert != old.cert);
        assert!(matches!(new.health(&names(), lives, later), Health::Good { .. }));
    }

    #[test]
    fn garbage_and_mixed_up_parts_are_never_good() {
        let (now, lives) = (OffsetDateTime::now_utc(), Lifetimes::default());
        let (one, two) = (made(now), made(now));
        let with_ca = |cert: &str, key: &str| Bundle {
            ca: Authority { cert: cert.to_owned(), key: key.to_owned() },
            ..one.clone()
        };
        for broken in [with_ca("garbage", &one.ca.key), with_ca(&one.ca.cert, &two.ca.key), with_ca("", "")] {
            assert!(matches!(broken.health(&names(), lives, now), Health::Remake(_)));
        }
        let other_leaf = Bundle { cert: two.cert.clone(), key: two.key.clone(), ..one.clone() };
        assert!(matches!(other_leaf.health(&names(), lives, now), Health::RenewServing(_)));
        let other_key = Bundle { key: two.key.clone(), ..one.clone() };
        assert!(matches!(other_key.health(&names(), lives, now), Health::RenewServing(_)));
        assert!(matches!(one.health(&["other".into()], lives, now), Health::RenewServing(_)));
    }
}
