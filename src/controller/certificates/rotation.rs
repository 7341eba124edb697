//! What the leader does next about the certificates: one step at a time, each written before the next is thought of, so
//! that any leader can go on where another stopped. Pure: does no I/O.
//!
//! A CA is followed by another in three steps, and between them everybody is waited for: (1) the new CA is published
//! beside the old one; (2) once every webhook entry has it, it signs; (3) once every replica serves what it signed, the
//! old one is forgotten.

use time::OffsetDateTime;

use super::secret::Stored;
use crate::certificate::{Authority, Bundle, CertificateError, Health, Lifetimes};

/// What the leader sees around the Secret.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen {
    /// Every webhook entry has had the next CA for long enough.
    pub(super) next_is_trusted: bool,
    /// Every living replica has served a certificate of the present CA for long enough.
    pub(super) all_serve_present: bool,
    /// An operator asks for another CA.
    pub(super) asked: bool,
}

/// A step: what is to be stored, and why.
#[derive(Clone)]
pub(super) struct Step {
    /// What the Secret shall hold.
    pub(super) stored: Stored,
    /// For the log.
    pub(super) why: String,
    /// Whether it answers an operator's wish.
    pub(super) grants: bool,
}

/// The next step, if there is one to take now.
///
/// # Errors
/// When a certificate can't be made.
pub(super) fn next(
    stored: &Stored,
    seen: Seen,
    names: &[String],
    lives: Lifetimes,
    now: OffsetDateTime,
) -> Result<Option<Step>, CertificateError> {
    let step = |stored: Stored, why: String| Some(Step { stored, why, grants: false });
    let due = match stored.bundle.health(names, lives, now) {
        Health::Remake(why) => {
            return Ok(step(first(names, lives, now)?, format!("a new CA and serving certificate: {why}")));
        }
        Health::RenewServing(why) => {
            let bundle = stored.bundle.ca.clone().sign(names, lives, now)?;
            return Ok(step(Stored { bundle, ..stored.clone() }, format!("a new serving certificate: {why}")));
        }
        Health::RenewCa(why) => Some(why),
        Health::Good { .. } => None,
    };
    if let Some(next) = &stored.next {
        if let Some(problem) = next.problem() {
            return Ok(step(Stored { next: None, ..stored.clone() }, format!("the next CA is thrown away: {problem}")));
        }
        if !seen.next_is_trusted {
            return Ok(None);
        }
        let bundle = next.clone().sign(names, lives, now)?;
        let promoted = Stored { bundle, next: None, previous: Some(stored.bundle.ca.cert.clone()) };
        return Ok(step(promoted, "the next CA signs from now on: every webhook entry has it".to_owned()));
    }
    if stored.previous.is_some() {
        let forgotten = Stored { previous: None, ..stored.clone() };
        let why = "the previous CA is forgotten: every replica serves a certificate of the present one".to_owned();
        return Ok(step(forgotten, why).filter(|_| seen.all_serve_present));
    }
    let Some(why) = due.or_else(|| seen.asked.then(|| "an operator asks for it".to_owned())) else {
        return Ok(None);
    };
    let begun = Stored { next: Some(Authority::make(lives, now)?), ..stored.clone() };
    Ok(Some(Step { stored: begun, why: format!("a next CA is published: {why}"), grants: true }))
}

/// The very first certificates.
///
/// # Errors
/// When a certificate can't be made.
pub(super) fn first(names: &[String], lives: Lifetimes, now: OffsetDateTime) -> Result<Stored, CertificateError> {
    Ok(Stored { bundle: Bundle::make(names, lives, now)?, next: None, previous: None })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use time::Duration;

    use super::*;
    use crate::certificate::service_names;

    const WAITING: Seen = Seen { next_is_trusted: false, all_serve_present: false, asked: false };

    fn names() -> Vec<String> {
        service_names("memcached-injector", "memcached-injector")
    }

    fn at(stored: &Stored, seen: Seen, now: OffsetDateTime) -> Option<Step> {
        next(stored, seen, &names(), Lifetimes::default(), now).unwrap()
    }

    #[test]
    fn a_ca_is_followed_in_three_steps_and_each_waits_for_everybody() {
        let now = OffsetDateTime::now_utc();
        let lives = Lifetimes::default();
        let start = first(&names(), lives, now).unwrap();
        assert!(at(&start, WAITING, now).is_none(), "nothing is due");
        let later = now + lives.ca * 2 / 3 + Duration::DAY;
        let renewed = at(&start, WAITING, later).unwrap().stored;
        assert!(renewed.bundle.ca == start.bundle.ca && renewed.next.is_none(), "first what is served");

        let begun = at(&renewed, WAITING, later).unwrap().stored;
        assert!(begun.bundle == renewed.bundle, "nothing else is served yet");
        assert_eq!(begun.authorities().len(), 2);
        assert!(at(&begun, WAITING, later).is_none(), "until every entry trusts it");

        let promoted = at(&begun, Seen { next_is_trusted: true, ..WAITING }, later).unwrap().stored;
        assert!(Some(&promoted.bundle.ca) == begun.next.as_ref());
        assert!(promoted.previous.as_ref() == Some(&start.bundle.ca.cert));
        assert!(at(&promoted, Seen { next_is_trusted: true, ..WAITING }, later).is_none(), "until all serve it");

        let done = at(&promoted, Seen { all_serve_present: true, ..WAITING }, later).unwrap().stored;
        assert_eq!(done.authorities(), [done.bundle.ca.cert.as_str()]);
        assert!(at(&done, Seen { next_is_trusted: true, all_serve_present: true, asked: false }, later).is_none());
    }

    #[test]
    fn an_operator_can_ask_for_it_and_is_answered_once() {
        let now = OffsetDateTime::now_utc();
        let start = first(&names(), Lifetimes::default(), now).unwrap();
        let begun = at(&start, Seen { asked: true, ..WAITING }, now).unwrap();
        assert!(begun.grants && begun.stored.next.is_some());
        assert!(at(&begun.stored, Seen { asked: true, ..WAITING }, now).is_none(), "one at a time");
    }

    #[test]
    fn a_broken_next_ca_is_thrown_away_and_a_broken_present_one_made_anew() {
        let now = OffsetDateTime::now_utc();
        let start = first(&names(), Lifetimes::default(), now).unwrap();
        let garbage = Authority { cert: "garbage".to_owned(), key: String::new() };
        let broken = Stored { next: Some(garbage.clone()), ..start.clone() };
        assert!(at(&broken, WAITING, now).unwrap().stored == start);
        let bundle = Bundle { ca: garbage, ..start.bundle.clone() };
        let remade = at(&Stored { bundle, ..start.clone() }, WAITING, now).unwrap().stored;
        assert!(remade.bundle.ca != start.bundle.ca);
        assert!(at(&remade, WAITING, now).is_none());
    }
}
