//! A part that is named is taken as it is; a missing one is an error that names the command which gets it. The environment
//! belongs to the whole process, so each case runs in a process of its own: this test binary again, with other variables.

use std::env;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use testbed::fetch;
use testbed::folder::RunFolder;

/// Makes the test `helper_process` fetch the named part and print where it is, or the error.
const HELPER: &str = "TESTBED_MISSING_HELPER";

#[test]
fn a_missing_go_is_named_with_how_to_install_it() {
    let empty = RunFolder::new("missing-go").unwrap();
    let said = said_about("kubernetes", empty.path(), &[("PATH", empty.path()), ("CARGO_TARGET_DIR", empty.path())]);
    assert!(said.contains("apt-get install golang-go") && said.contains("KUBEBUILDER_ASSETS"), "{said}");
}

#[test]
fn an_asset_folder_without_etcd_is_refused() {
    let empty = RunFolder::new("missing-etcd").unwrap();
    let said = said_about("kubernetes", empty.path(), &[("KUBEBUILDER_ASSETS", empty.path())]);
    assert!(said.contains("holds no etcd") && said.contains("setup-envtest use"), "{said}");
}

#[test]
fn a_memcached_that_is_none_is_refused() {
    let empty = RunFolder::new("missing-memcached").unwrap();
    let said = said_about("memcached", empty.path(), &[("MEMCACHED", Path::new("/bin/true"))]);
    assert!(said.contains("MEMCACHED is /bin/true") && said.contains("not a version"), "{said}");
}

#[test]
fn a_missing_memcached_is_named_with_how_to_build_it() {
    let empty = RunFolder::new("missing-apt").unwrap();
    let said = said_about("memcached", empty.path(), &[("PATH", empty.path()), ("CARGO_TARGET_DIR", empty.path())]);
    assert!(said.contains("./configure --enable-proxy") && said.contains("apt-get"), "{said}");
}

#[test]
fn named_binaries_are_taken_as_they_are() {
    let (binaries, server) = (fetch::kubernetes().unwrap(), fetch::memcached().unwrap());
    let folder = RunFolder::new("named-parts").unwrap();
    for path in [
        &binaries.etcd,
        &binaries.kube_apiserver,
        &binaries.kube_controller_manager,
        &binaries.kube_scheduler,
        &binaries.kubectl,
        &server,
    ] {
        symlink(path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    let nowhere = ("CARGO_TARGET_DIR", folder.path());
    let said = said_about(
        "kubernetes",
        folder.path(),
        &[(fetch::ASSETS, folder.path()), ("PATH", Path::new("/nowhere")), nowhere],
    );
    assert!(said.contains(&format!("found {}", folder.path().join("kube-apiserver").display())), "{said}");
    let found = format!("found {}", folder.path().join("memcached").display());
    let path = env::join_paths([folder.path(), Path::new("/usr/bin"), Path::new("/bin")]).unwrap();
    for variable in [(fetch::MEMCACHED, folder.path().join("memcached")), ("PATH", PathBuf::from(path))] {
        let said = said_about("memcached", folder.path(), &[(variable.0, &variable.1), nowhere]);
        assert!(said.contains(&found), "{}: {said}", variable.0);
    }
}

/// Not a test of its own: what the tests above run with another environment.
#[test]
fn helper_process() {
    let outcome = match env::var(HELPER).as_deref() {
        Ok("kubernetes") => fetch::kubernetes().map(|binaries| binaries.kube_apiserver),
        Ok("memcached") => fetch::memcached(),
        _ => return,
    };
    match outcome {
        Ok(path) => println!("found {}", path.display()),
        Err(error) => println!("{error:#}"),
    }
}

fn said_about(part: &str, folder: &Path, variables: &[(&str, &Path)]) -> String {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "missing::helper_process", "--nocapture"]).current_dir(folder);
    command.env_remove(fetch::ASSETS).env_remove(fetch::MEMCACHED).env(HELPER, part);
    command.envs(variables.iter().copied());
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}
