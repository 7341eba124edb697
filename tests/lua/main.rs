//! The routing library as Lua, without a memcached: luacheck over all of it, and what its pure files must do, claim by claim
//! (the `.lua` files beside this one, run by plain Lua 5.4). What needs the proxy is tests/wire's.
#![allow(clippy::unwrap_used, clippy::panic)] // how a test stops

use std::path::{Path, PathBuf};
use std::process::Command;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Runs a program of a Debian package to its end; when it is missing or says no, that is the failure.
fn run(program: &str, package: &str, arguments: &[&Path]) {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| {
        panic!("{program} did not start ({error}); it is in Debian's {package}: apt-get install {package}")
    });
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "\n{program} {arguments:?}:\n{}", String::from_utf8_lossy(&said));
}

/// Runs `claims` with these files of the library loaded before it.
fn holds(claims: &str, files: &[&str]) {
    let tests = folder("tests/lua");
    let (prelude, library, claims) = (tests.join("prelude.lua"), folder("src/routing/lua"), tests.join(claims));
    let mut arguments: Vec<&Path> = vec![&prelude, &library, &claims];
    arguments.extend(files.iter().map(Path::new));
    run("lua5.4", "lua5.4", &arguments);
}

#[test]
fn luacheck_finds_nothing_in_the_library() {
    // M is the shared table; functions of one kind have one list of parameters, whether they use each or not
    let options = "--std lua54 --globals memcached_proxy mcp_config_pools mcp_config_routes --read-globals mcp --globals M \
                   --ignore 241/M 311 --no-unused-args --no-max-line-length --no-color --codes -q";
    let library = folder("src/routing/lua");
    let arguments = options.split_whitespace().map(Path::new).chain(["--", library.to_str().unwrap()].map(Path::new));
    run("luacheck", "lua-check", &arguments.collect::<Vec<_>>());
}

#[test]
fn key_order_is_fixed_even_and_moves_little_when_a_ring_grows() {
    holds("order.lua", &["order.lua"]);
}

#[test]
fn a_configuration_is_data_and_nothing_else() {
    holds("data.lua", &["data.lua"]);
}

#[test]
fn the_dns_is_asked_for_servers_that_are_down_and_now_and_then_for_the_others() {
    holds("names.lua", &["names.lua"]);
}

#[test]
fn the_view_is_read_as_it_was_written() {
    holds("view.lua", &["view.lua"]);
}

#[test]
fn what_one_connection_asks_for_one_key_goes_on_in_order() {
    holds("line.lua", &["line.lua"]);
}

#[test]
fn a_reading_of_the_view_that_ended_in_an_error_is_not_waited_for() {
    holds("lease.lua", &["lease.lua"]);
}

#[test]
fn what_the_short_way_sends_is_written_anew_or_not_sent() {
    holds("prepared.lua", &["prepared.lua"]);
}

#[test]
fn a_stand_in_is_told_no_long_lifetime() {
    holds("gutter.lua", &["order.lua", "item.lua", "gutter.lua"]);
}

#[test]
fn each_command_has_its_class_and_its_form_on_the_wire() {
    holds("classes.lua", &["order.lua", "item.lua", "classes.lua"]);
}

#[test]
fn answers_are_silent_translated_and_the_best_of_several() {
    holds("reply.lua", &["item.lua", "classes.lua", "reply.lua"]);
}
