//! The folders that nodes mount their own over: the default paths of their programs. Owns making those that this machine
//! lacks, and removing them again; what is mounted there is seen by the nodes alone.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

const PLACES: [&str; 6] =
    ["/var/lib/kubelet", "/var/lib/containerd", "/var/lib/cni", "/var/log/pods", "/var/log/containers", "/etc/cni"];

/// Every place is there as long as this lives.
#[derive(Debug)]
pub(super) struct Places {
    made: Vec<&'static str>,
}

impl Places {
    pub(super) fn make() -> Result<Self> {
        let mut places = Self { made: Vec::new() };
        for place in PLACES {
            if !Path::new(place).is_dir() {
                fs::create_dir(place).with_context(|| format!("make the folder {place}"))?;
                places.made.push(place);
            }
        }
        Ok(places)
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        for place in &self.made {
            let _ = fs::remove_dir(place); // one that is not empty by now is somebody else's
        }
    }
}
