//! Healthy: every mode is one memcached, whoever asks; in failover one's own pod sees its own writes at once.

use crate::cell::Sees::Kept;
use crate::cell::{cells, during};

cells! {
    (mode, class, expect) during(mode, class, 0, &[], &[], expect);
    // mode and class => keys whose only copy is on the server in question, all others
    replicated_coherent_read: Coherent, Read => [Kept], [Kept];
    replicated_coherent_overwrite: Coherent, Overwrite => [Kept], [Kept];
    replicated_coherent_remove: Coherent, Remove => [Kept], [Kept];
    replicated_coherent_update: Coherent, Update => [Kept], [Kept];
    replicated_fastest_read: Fastest, Read => [Kept], [Kept];
    replicated_fastest_overwrite: Fastest, Overwrite => [Kept], [Kept];
    replicated_fastest_remove: Fastest, Remove => [Kept], [Kept];
    replicated_fastest_update: Fastest, Update => [Kept], [Kept];
    sharded_read: Sharded, Read => [Kept], [Kept];
    sharded_overwrite: Sharded, Overwrite => [Kept], [Kept];
    sharded_remove: Sharded, Remove => [Kept], [Kept];
    sharded_update: Sharded, Update => [Kept], [Kept];
    failover_container_read: Container, Read => [Kept], [Kept];
    failover_container_overwrite: Container, Overwrite => [Kept], [Kept];
    failover_container_remove: Container, Remove => [Kept], [Kept];
    failover_container_update: Container, Update => [Kept], [Kept];
    failover_internal_read: Internal, Read => [Kept], [Kept];
    failover_internal_overwrite: Internal, Overwrite => [Kept], [Kept];
    failover_internal_remove: Internal, Remove => [Kept], [Kept];
    failover_internal_update: Internal, Update => [Kept], [Kept];
    failover_two_copies_read: TwoCopies, Read => [Kept], [Kept];
    failover_two_copies_overwrite: TwoCopies, Overwrite => [Kept], [Kept];
    failover_two_copies_remove: TwoCopies, Remove => [Kept], [Kept];
    failover_two_copies_update: TwoCopies, Update => [Kept], [Kept];
}
