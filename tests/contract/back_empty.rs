//! One server back, empty: a key with another copy is kept, one without is lost as on one memcached that restarted. For up to a
//! second, until the proxies see the server again, it is as dead.

use testbed::fault::Fault;

use crate::cell::Sees::{Kept, Lost};
use crate::cell::{cells, once_back};

cells! {
    (mode, class, expect) once_back(mode, class, &[Fault::BackEmpty(0)], &[0], expect);
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
    failover_two_copies_read: TwoCopies, Read => [Kept], [Kept];
    failover_two_copies_overwrite: TwoCopies, Overwrite => [Kept], [Kept];
    failover_two_copies_remove: TwoCopies, Remove => [Kept], [Kept];
    failover_two_copies_update: TwoCopies, Update => [Kept], [Kept];
}
