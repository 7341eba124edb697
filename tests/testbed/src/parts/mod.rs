//! One running part a file. Each `start` returns once the part answers, and dropping the value stops it; a part's fault
//! (frozen, stopped) undoes itself when its guard is dropped.

mod carry;
pub mod clock;
pub mod control_plane;
pub mod injector;
pub mod kubelet;
pub mod kwok;
pub mod memcached;
pub mod names;
pub mod nodes;
mod preload;
pub mod proxy;
pub mod relay;
