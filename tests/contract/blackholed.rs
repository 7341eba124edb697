//! One server blackholed (nothing passes, connects hang): as dead, at the cost of one timeout for each proxy.

use testbed::fault::{Fault, From};

use crate::cell::Sees::{Down, Kept, Lost};
use crate::cell::{cells, during};

cells! {
    (mode, class, expect) during(mode, class, 0, &[Fault::Blackhole(From::Everyone, 0)], &[0], expect);
    // mode and class => keys whose only copy is on the server in question, all others
    replicated_coherent_read: Coherent, Read => [Kept], [Kept];
    replicated_coherent_overwrite: Coherent, Overwrite => [Kept], [Kept];
    replicated_coherent_remove: Coherent, Remove => [Kept], [Kept];
    replicated_coherent_update: Coherent, Update => [Kept], [Kept];
    replicated_fastest_read: Fastest, Read => [Kept], [Kept];
    replicated_fastest_overwrite: Fastest, Overwrite => [Kept], [Kept];
    replicated_fastest_remove: Fastest, Remove => [Kept], [Kept];
    replicated_fastest_update: Fastest, Update => [Kept], [Kept];
    sharded_read: Sharded, Read => [Lost], [Kept];
    sharded_overwrite: Sharded, Overwrite => [Down], [Kept];
    sharded_remove: Sharded, Remove => [Down], [Kept];
    sharded_update: Sharded, Update => [Down], [Kept];
    failover_container_read: Container, Read => [Lost], [Kept];
    failover_container_overwrite: Container, Overwrite => [Down], [Kept];
    failover_container_remove: Container, Remove => [Down], [Kept];
    failover_container_update: Container, Update => [Down], [Kept];
    failover_internal_read: Internal, Read => [Lost], [Kept];
    failover_internal_overwrite: Internal, Overwrite => [Down], [Kept];
    failover_internal_remove: Internal, Remove => [Down], [Kept];
    failover_internal_update: Internal, Update => [Down], [Kept];
    failover_two_copies_read: TwoCopies, Read => [Kept], [Kept];
    failover_two_copies_overwrite: TwoCopies, Overwrite => [Kept], [Kept];
    failover_two_copies_remove: TwoCopies, Remove => [Kept], [Kept];
    failover_two_copies_update: TwoCopies, Update => [Kept], [Kept];
}
