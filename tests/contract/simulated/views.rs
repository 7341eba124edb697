//! What a view is good for: an answer counts only under the one that it was asked for, and what a minority of Q does not know is not over.

use std::collections::BTreeSet;

use memcached_injector::routing::library;

use super::{for_all_seeds, run_again, seeds, told};
use crate::mutants::{broken, mutant};

/// Whether each of thirty keys was counted twice.
fn counts_each_once(library: &str, seed: u64) -> bool {
    let told: BTreeSet<String> = told(library, seed, include_str!("late.lua")).into_iter().collect();
    (1..=30).flat_map(|key| [1, 2].map(|number| format!("number{key} {number}"))).all(|wanted| told.contains(&wanted))
}

#[test]
fn an_answer_that_comes_too_late_does_not_count() {
    for_all_seeds("views::an_answer_that_comes_too_late_does_not_count", counts_each_once);
}

#[test]
fn counting_an_answer_that_comes_too_late_is_caught() {
    let short = mutant("took(res)and mono()<limit then", "took(res)then");
    let long = broken(&short, "local late=res and#list>1 and t.V and", "local late=false and");
    let always = broken(&long, "if not self.V or mono()<self.limit then return true end", "do return true end");
    assert!(!counts_each_once(&always, 1), "nobody noticed");
}

/// What is read after the write, at least once of some keys.
fn reads(library: &str, seed: u64) -> BTreeSet<String> {
    let told = told(library, seed, include_str!("minority.lua"));
    assert!(told.len() >= 40, "{told:?}");
    told.iter().filter_map(|told| told.split_once(' ')).map(|(_, value)| value.to_owned()).collect()
}

#[test]
fn a_minority_of_the_views_members_clears_nobody() {
    for seed in seeds() {
        let again = run_again("views::a_minority_of_the_views_members_clears_nobody", seed);
        assert_eq!(reads(&library::library().text, seed), BTreeSet::from(["after".to_owned()]), "{again}");
    }
}

#[test]
fn believing_a_minority_is_caught() {
    let mutant = mutant("if answers*2<=#self.q then now_bad=math.max(now_bad,rec.bad)end", "");
    assert!(reads(&mutant, 1).contains("before"), "nobody noticed");
}
