//! A placeholder of the model; see the next commit.
fn main() {}
