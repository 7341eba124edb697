//! All copies of every key gone, the servers alive and empty: a cache that has lost its keys, and works.

use testbed::fault::Fault;

use crate::cell::Sees::{Kept, Lost};
use crate::cell::{cells, once_back};

const EMPTIED: [Fault; 3] = [Fault::BackEmpty(0), Fault::BackEmpty(1), Fault::BackEmpty(2)];

cells! {
    (mode, class, expect) once_back(mode, class, &EMPTIED, &[0, 1, 2], expect);
    // mode and class => keys whose only copy is on the server in question, all others
    replicated_coherent_read: Coherent, Read => [Lost], [Kept];
    replicated_coherent_overwrite: Coherent, Overwrite => [Lost], [Kept];
    replicated_coherent_remove: Coherent, Remove => [Lost], [Kept];
    replicated_coherent_update: Coherent, Update => [Lost], [Kept];
    replicated_fastest_read: Fastest, Read => [Lost], [Kept];
    replicated_fastest_overwrite: Fastest, Overwrite => [Lost], [Kept];
    replicated_fastest_remove: Fastest, Remove => [Lost], [Kept];
    replicated_fastest_update: Fastest, Update => [Lost], [Kept];
    sharded_read: Sharded, Read => [Lost], [Kept];
    sharded_overwrite: Sharded, Overwrite => [Lost], [Kept];
    sharded_remove: Sharded, Remove => [Lost], [Kept];
    sharded_update: Sharded, Update => [Lost], [Kept];
    failover_container_read: Container, Read => [Lost], [Kept];
    failover_container_overwrite: Container, Overwrite => [Lost], [Kept];
    failover_container_remove: Container, Remove => [Lost], [Kept];
    failover_container_update: Container, Update => [Lost], [Kept];
    failover_internal_read: Internal, Read => [Lost], [Kept];
    failover_internal_overwrite: Internal, Overwrite => [Lost], [Kept];
    failover_internal_remove: Internal, Remove => [Lost], [Kept];
    failover_internal_update: Internal, Update => [Lost], [Kept];
}
