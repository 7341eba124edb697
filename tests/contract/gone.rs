//! The whole cluster dead: reads miss, writes say so at once, nothing hangs.

use testbed::fault::Fault;

use crate::cell::Sees::{Down, Kept, Lost};
use crate::cell::{cells, during};

const KILLED: [Fault; 3] = [Fault::Kill(0), Fault::Kill(1), Fault::Kill(2)];

cells! {
    (mode, class, expect) during(mode, class, 0, &KILLED, &[0, 1, 2], expect);
    // mode and class => keys whose only copy is on the server in question, all others
    replicated_coherent_read: Coherent, Read => [Lost], [Kept];
    replicated_coherent_overwrite: Coherent, Overwrite => [Down], [Kept];
    replicated_coherent_remove: Coherent, Remove => [Down], [Kept];
    replicated_coherent_update: Coherent, Update => [Down], [Kept];
    replicated_fastest_read: Fastest, Read => [Lost], [Kept];
    replicated_fastest_overwrite: Fastest, Overwrite => [Down], [Kept];
    replicated_fastest_remove: Fastest, Remove => [Down], [Kept];
    replicated_fastest_update: Fastest, Update => [Down], [Kept];
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
    failover_two_copies_read: TwoCopies, Read => [Lost], [Kept];
    failover_two_copies_overwrite: TwoCopies, Overwrite => [Down], [Kept];
    failover_two_copies_remove: TwoCopies, Remove => [Down], [Kept];
    failover_two_copies_update: TwoCopies, Update => [Down], [Kept];
}
