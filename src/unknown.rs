//! Keys that begin with `memcached.io/` and mean nothing here, and the known word that a wrong one is closest to.
//!
//! A key close to a known one is a slip and refused; any other only warns, so that going back to an older injector
//! blocks nobody.

use serde_json::Value;

use crate::names::annotation;
use crate::namespace::Namespace;
use crate::pod::Pod;
use crate::reason::{Problem, Warning};

/// Looks at every annotation of ours on the pod and on its namespace.
pub fn keys(pod: &Pod, namespace: &Namespace) -> (Vec<Problem>, Vec<Warning>) {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    for key in pod.our_annotations().into_keys().filter(|key| !is_known(key)) {
        match closest(key, &annotation::OF_USERS) {
            Some(near) => problems.push(Problem::UnknownKey { key: key.to_owned(), near: near.to_owned() }),
            None => warnings.push(Warning::UnknownKey(key.to_owned())),
        }
    }
    for key in namespace.annotations.keys() {
        if key == annotation::MODE {
            warnings.push(Warning::ModeOnNamespace(namespace.name.clone()));
        } else if !is_known(key) {
            warnings.push(Warning::UnknownNamespaceKey { namespace: namespace.name.clone(), key: key.clone() });
        }
    }
    (problems, warnings)
}

/// Options on a workload itself, where nobody reads them, instead of on its pod template.
pub fn misplaced(workload: &Value) -> Vec<Warning> {
    let annotations = workload.pointer("/metadata/annotations");
    let has = |key: &&str| annotations.is_some_and(|all| all.get(key).is_some());
    annotation::OF_USERS.into_iter().filter(has).map(|key| Warning::NotOnTemplate(key.to_owned())).collect()
}

fn is_known(key: &str) -> bool {
    annotation::OF_USERS.contains(&key) || annotation::OF_INJECTOR.contains(&key)
}

/// The choice that `text` was probably meant to be: the same but for case, or at most two slips away (one, for words of
/// up to five letters).
pub fn closest<'a>(text: &str, choices: &[&'a str]) -> Option<&'a str> {
    let written = text.trim().to_ascii_lowercase();
    let slips = |choice: &str| {
        let word = choice.strip_prefix(crate::names::PREFIX).unwrap_or(choice);
        let most = if word.len() > 5 { 2 } else { 1 };
        Some(strsim::damerau_levenshtein(&written, choice)).filter(|slips| *slips <= most)
    };
    choices
        .iter()
        .filter_map(|choice| Some((slips(choice)?, *choice)))
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, choice)| choice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let modes = ["replicated", "failover", "sharded", "none"];
        assert_eq!(closest("replicatd", &modes), Some("replicated"));
        assert_eq!(closest("Replicated", &modes), Some("replicated"));
        assert_eq!(closest("shraded", &modes), Some("sharded"));
        assert_eq!(closest("non", &modes), Some("none"));
        assert_eq!(closest("on", &modes), None);
        assert_eq!(closest("mirrored", &modes), None);
        assert_eq!(closest("memcached.io/local_ttl", &annotation::OF_USERS), Some(annotation::LOCAL_TTL));
        assert_eq!(closest("memcached.io/team", &annotation::OF_USERS), None);
    }
}
