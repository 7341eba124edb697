//! What the README promises, on three real Kubernetes nodes: kubelet, containerd and runc, the manifests as users apply
//! them, the webhook in its pods. One module a promise; they share one cluster and run one after the other, in the order
//! below. Needs root: `cargo test-nodes`, or `cargo test-nodes WORD` for those with the word in their name.
//!
//! No libtest harness: its tests share nothing that would be dropped at the end, and a cluster leaves namespaces, mounts and
//! control groups behind that only a drop removes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod aligned;
mod app;
mod bed;
mod daemonset;
mod death;
mod fault;
mod install;
mod leader;
mod refill;
mod scale;
mod sidecar;
mod traffic;

use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use bed::Bed;

/// A promise and the test of it. It panics when the promise is broken, and returns its figures otherwise.
type Test = (&'static str, fn(&Bed) -> String);

const TESTS: &[Test] = &[
    ("install::everything_comes_up_ready_by_itself", install::everything_comes_up_ready_by_itself),
    ("install::applied_again_nothing_changes", install::applied_again_nothing_changes),
    ("sidecar::every_mode_serves_apps_on_every_node", sidecar::every_mode_serves_apps_on_every_node),
    ("sidecar::a_changed_configuration_reaches_the_proxy", sidecar::a_changed_configuration_reaches_the_proxy),
    ("sidecar::the_local_cache_is_killed_unnoticed", sidecar::the_local_cache_is_killed_unnoticed),
    ("sidecar::the_proxy_outlives_the_last_write", sidecar::the_proxy_outlives_the_last_write),
    ("sidecar::a_job_completes", sidecar::a_job_completes),
    ("daemonset::an_app_is_served_by_its_own_node", daemonset::an_app_is_served_by_its_own_node),
    ("death::of_a_node_without_a_word", death::of_a_node_without_a_word),
    ("death::of_a_node_with_its_link", death::of_a_node_with_its_link),
    ("death::of_a_node_and_of_the_dns", death::of_a_node_and_of_the_dns),
    ("death::a_drained_node_takes_no_key_along", death::a_drained_node_takes_no_key_along),
    (
        "fault::of_a_frozen_cache_or_node_and_of_a_cut_link_nothing_is_noticed",
        fault::of_a_frozen_cache_or_node_and_of_a_cut_link_nothing_is_noticed,
    ),
    (
        "leader::a_node_with_the_leader_dies_and_pods_are_created",
        leader::a_node_with_the_leader_dies_and_pods_are_created,
    ),
    ("refill::the_component_gates_cache_pods_on_their_data", refill::the_component_gates_cache_pods_on_their_data),
    ("refill::each_node_dies_in_turn_and_no_key_is_lost", refill::each_node_dies_in_turn_and_no_key_is_lost),
    (
        "refill::each_node_is_drained_in_turn_and_no_key_is_lost",
        refill::each_node_is_drained_in_turn_and_no_key_is_lost,
    ),
    ("refill::a_rolling_restart_loses_no_key", refill::a_rolling_restart_loses_no_key),
    ("refill::a_change_of_the_image_loses_no_key", refill::a_change_of_the_image_loses_no_key),
    ("scale::copies_are_taken_away_and_added_unnoticed", scale::copies_are_taken_away_and_added_unnoticed),
    ("refill::each_node_dies_and_two_copies_are_enough", refill::each_node_dies_in_turn_and_no_key_is_lost),
    ("scale::a_change_of_the_template_loses_no_key", scale::a_change_of_the_template_loses_no_key),
    ("scale::servers_are_added_and_taken_away_unnoticed", scale::servers_are_added_and_taken_away_unnoticed),
    ("install::deleted_nothing_is_left", install::deleted_nothing_is_left),
    (
        "aligned::one_change_of_two_sets_takes_one_copy_at_a_time",
        aligned::one_change_of_two_sets_takes_one_copy_at_a_time,
    ),
    ("install::in_any_order", install::in_any_order),
];

fn main() -> ExitCode {
    // Options are libtest's, which `cargo test` may pass on; the words choose.
    let words: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let chosen = |test: &&Test| words.is_empty() || words.iter().any(|word| test.0.contains(word.as_str()));
    let start = Instant::now();
    let bed = match Bed::start() {
        Ok(bed) => bed,
        Err(error) => {
            eprintln!("the nodes could not be started: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    println!("three nodes Ready, manifests applied: {:.1} s", start.elapsed().as_secs_f64());
    let mut failed = Vec::new();
    for (name, test) in TESTS.iter().filter(chosen) {
        let start = Instant::now();
        // A test that fails leaves the cluster as it is; the next ones use objects of their own.
        let outcome = catch_unwind(AssertUnwindSafe(|| test(&bed)));
        let (word, figures) = outcome.as_ref().map_or(("FAILED", ""), |figures| ("ok", figures.as_str()));
        println!("{word:6} {name} ({:.1} s) {figures}", start.elapsed().as_secs_f64());
        if outcome.is_err() {
            println!("{}", bed.describe());
            failed.push(*name);
        }
        bed.clear_apps();
    }
    println!("{} in {:.0} s", if failed.is_empty() { "all kept" } else { "BROKEN" }, start.elapsed().as_secs_f64());
    failed.iter().for_each(|name| println!("  again: cargo test-nodes {name}"));
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
