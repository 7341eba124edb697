//! The pod's own local cache dead (failover with a container): no error and no slow path, only fewer local hits.

use crate::cell::{BEFORE, Class, Mode, Sees, Stage};

fn as_ever(class: Class) {
    let stage = Stage::new(Mode::Container);
    stage.fill(BEFORE);
    let before = stage.try_class(Class::Read, 0, BEFORE); // in the local cache now
    stage.locals[0].kill().unwrap();
    let after = stage.try_class(class, 0, BEFORE);
    for sees in before.iter().chain(&after) {
        assert_eq!(*sees, Sees::Kept, "before {before:?}, after {after:?}");
    }
}

#[test]
fn failover_container_read() {
    as_ever(Class::Read);
}

#[test]
fn failover_container_overwrite() {
    as_ever(Class::Overwrite);
}

#[test]
fn failover_container_remove() {
    as_ever(Class::Remove);
}

#[test]
fn failover_container_update() {
    as_ever(Class::Update);
}
