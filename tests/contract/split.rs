//! A split: one proxy reaches the first server only, the other one the other two. Each side goes on with the copies that it
//! reaches: no error, and what the other side writes is not seen.

use testbed::fault::{Fault, From};

use crate::cell::Sees::{Kept, Stale};
use crate::cell::{cells, during};

const SPLIT: [Fault; 3] = [Fault::Cut(From::Proxy(0), 1), Fault::Cut(From::Proxy(0), 2), Fault::Cut(From::Proxy(1), 0)];

cells! {
    (mode, class, expect) during(mode, class, 0, &SPLIT, &[0], expect);
    // mode and class => keys whose only copy is on the server in question, all others
    replicated_coherent_read: Coherent, Read => [Kept], [Kept];
    replicated_coherent_overwrite: Coherent, Overwrite => [Kept], [Kept, Stale];
    replicated_coherent_remove: Coherent, Remove => [Kept], [Kept, Stale];
    replicated_coherent_update: Coherent, Update => [Kept], [Kept, Stale];
    replicated_fastest_read: Fastest, Read => [Kept], [Kept];
    replicated_fastest_overwrite: Fastest, Overwrite => [Kept], [Kept, Stale];
    replicated_fastest_remove: Fastest, Remove => [Kept], [Kept, Stale];
    replicated_fastest_update: Fastest, Update => [Kept], [Kept, Stale];
}
