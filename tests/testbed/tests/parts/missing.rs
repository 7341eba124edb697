//! A missing part is an error that names the command which gets it. The environment belongs to the whole process, so each
//! case runs in a process of its own: this test binary again, with one variable changed.

use std::env;
use std::path::Path;
use std::process::Command;

use testbed::fetch;
use testbed::folder::RunFolder;

/// Makes the test `helper_process` fetch the named part and print the error.
const HELPER: &str = "TESTBED_MISSING_HELPER";

#[test]
fn a_missing_go_is_named_with_how_to_install_it() {
    let empty = RunFolder::new("missing-go").unwrap();
    let said = error_of("kubernetes", empty.path(), &[("PATH", empty.path()), ("CARGO_TARGET_DIR", empty.path())]);
    assert!(said.contains("apt-get install golang-go") && said.contains("KUBEBUILDER_ASSETS"), "{said}");
}

#[test]
fn an_asset_folder_without_etcd_is_refused() {
    let empty = RunFolder::new("missing-etcd").unwrap();
    let said = error_of("kubernetes", empty.path(), &[("KUBEBUILDER_ASSETS", empty.path())]);
    assert!(said.contains("holds no etcd") && said.contains("setup-envtest use"), "{said}");
}

#[test]
fn a_memcached_that_is_none_is_refused() {
    let empty = RunFolder::new("missing-memcached").unwrap();
    let said = error_of("memcached", empty.path(), &[("MEMCACHED", Path::new("/bin/true"))]);
    assert!(said.contains("MEMCACHED is /bin/true") && said.contains("not a version"), "{said}");
}

#[test]
fn a_missing_memcached_is_named_with_how_to_build_it() {
    let empty = RunFolder::new("missing-apt").unwrap();
    let said = error_of("memcached", empty.path(), &[("PATH", empty.path()), ("CARGO_TARGET_DIR", empty.path())]);
    assert!(said.contains("./configure --enable-proxy") && said.contains("apt-get"), "{said}");
}

/// Not a test of its own: what the tests above run with another environment.
#[test]
fn helper_process() {
    let outcome = match env::var(HELPER).as_deref() {
        Ok("kubernetes") => fetch::kubernetes().map(drop),
        Ok("memcached") => fetch::memcached().map(drop),
        _ => return,
    };
    println!("{:#}", outcome.unwrap_err());
}

fn error_of(part: &str, folder: &Path, variables: &[(&str, &Path)]) -> String {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "missing::helper_process", "--nocapture"]).current_dir(folder);
    command.env_remove(fetch::ASSETS).env_remove(fetch::MEMCACHED).env(HELPER, part);
    command.envs(variables.iter().copied());
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}
