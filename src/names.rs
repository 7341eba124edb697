//! Every name that users, manifests and other programs see: annotation keys, labels, containers, paths.
//!
//! Owns the spelling and nothing else; what a name means is decided where it is read.

/// Everything of ours begins with this.
pub const PREFIX: &str = "memcached.io/";

/// Annotations that a pod (and, except `mode`, a namespace) may carry.
pub mod annotation {
    /// What localhost:11211 is: `replicated`, `failover`, `sharded` or `none`.
    pub const MODE: &str = "memcached.io/mode";
    /// Which cluster: `[namespace/]name`.
    pub const CLUSTER: &str = "memcached.io/cluster";
    /// The port the app dials on localhost.
    pub const PORT: &str = "memcached.io/port";
    /// Where the local cache of failover mode lives: `container` or `internal`.
    pub const LOCAL_CACHE: &str = "memcached.io/local-cache";
    /// Size of the local cache in MB.
    pub const LOCAL_CACHE_MEMORY: &str = "memcached.io/local-cache-memory";
    /// Longest time a local copy is served.
    pub const LOCAL_TTL: &str = "memcached.io/local-ttl";
    /// CPU request of the proxy.
    pub const PROXY_CPU_REQUEST: &str = "memcached.io/proxy-cpu-request";
    /// CPU limit of the proxy.
    pub const PROXY_CPU_LIMIT: &str = "memcached.io/proxy-cpu-limit";
    /// Memory request of the proxy.
    pub const PROXY_MEMORY_REQUEST: &str = "memcached.io/proxy-memory-request";
    /// Memory limit of the proxy.
    pub const PROXY_MEMORY_LIMIT: &str = "memcached.io/proxy-memory-limit";
    /// Image of the containers we add.
    pub const PROXY_IMAGE: &str = "memcached.io/proxy-image";
    /// Written by the injector: what was injected, as JSON.
    pub const STATUS: &str = "memcached.io/status";
    /// Written by the injector: the proxy's configuration.
    pub const PROXY_CONFIG: &str = "memcached.io/proxy-config";
    /// On a cache StatefulSet: copies of each key, `all` or a number.
    pub const COPIES: &str = "memcached.io/copies";
    /// On a cache StatefulSet: `coherent` or `fastest`.
    pub const CONSISTENCY: &str = "memcached.io/consistency";
    /// On a cache StatefulSet: how many of its servers are to count, where that is fewer than it has.
    pub const SERVERS: &str = "memcached.io/servers";
    /// On a cache StatefulSet, written by the injector: the ring, as JSON.
    pub const RING: &str = "memcached.io/ring";
    /// Marks a static pod's mirror; the kubelet owns it and nobody may change it.
    pub const MIRROR: &str = "kubernetes.io/config.mirror";

    /// What a user may set on a pod.
    pub const OF_USERS: [&str; 11] = [
        MODE,
        CLUSTER,
        PORT,
        LOCAL_CACHE,
        LOCAL_CACHE_MEMORY,
        LOCAL_TTL,
        PROXY_CPU_REQUEST,
        PROXY_CPU_LIMIT,
        PROXY_MEMORY_REQUEST,
        PROXY_MEMORY_LIMIT,
        PROXY_IMAGE,
    ];
    /// What only the injector writes.
    pub const OF_INJECTOR: [&str; 2] = [STATUS, PROXY_CONFIG];
}

/// Labels.
pub mod label {
    /// On a namespace: a mode, `enabled` or `disabled`.
    pub const INJECT: &str = "memcached.io/inject";
    /// On every injected pod, value `"true"`: watches, NetworkPolicies and admission policies select by it.
    pub const INJECTED: &str = "memcached.io/injected";
    /// On a cache StatefulSet: the cluster's name.
    pub const CLUSTER: &str = "memcached.io/cluster";
    /// On a cache StatefulSet: which replica of the data it holds.
    pub const REPLICA: &str = "memcached.io/replica";
    /// On a cache StatefulSet: `gutter` for the stand-in pool.
    pub const ROLE: &str = "memcached.io/role";
}

/// The readiness gate of cache pods: whether their server holds every copy that it should.
pub const SYNCED: &str = "memcached.io/synced";
/// The cache namespace of the recommended install, and of a cluster named without one.
pub const DEFAULT_CACHE_NAMESPACE: &str = "cache";
/// The port of a memcached, ours and the app's view of it.
pub const MEMCACHED_PORT: u16 = 11211;
/// The proxy's container.
pub const PROXY_CONTAINER: &str = "memcached-proxy";
/// The local cache's container, failover mode only.
pub const LOCAL_CONTAINER: &str = "memcached-local";
/// The volume that holds configuration and library.
pub const VOLUME: &str = "memcached-proxy";
/// Where that volume is mounted in the proxy.
pub const MOUNT_PATH: &str = "/etc/memcached-proxy";
/// The configuration's file name in the volume.
pub const CONFIG_FILE: &str = "config.lua";
/// The library's file name in the volume, and its key in the ConfigMap.
pub const LIBRARY_FILE: &str = "library.lua";
/// The environment variable with the proxy's name among all proxies: its pod's uid.
pub const PROXY_ID: &str = "MEMCACHED_PROXY_ID";
/// What a namespace's library ConfigMap is called, before its hash.
pub const LIBRARY_PREFIX: &str = "memcached-proxy-";
