//! What the operator sets, for all pods alike: as typed on the command line, then checked once.
//!
//! What a single pod may choose is in request.rs.

use std::collections::BTreeSet;

use crate::names;
use crate::request::ModeName;
use crate::topology::{ClusterId, ClusterIdError};

/// Settings as typed: flags, or the environment variables that go with them.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "What is injected")]
pub struct SettingsArgs {
    /// The mode that a namespace labelled `memcached.io/inject: enabled` means
    #[arg(long, env = "MEMCACHED_INJECTOR_DEFAULT_MODE", default_value = "replicated")]
    default_mode: String,
    /// The cluster that a pod uses when it names none: NAMESPACE/NAME
    #[arg(long, env = "MEMCACHED_INJECTOR_DEFAULT_CLUSTER", default_value = "cache/memcached")]
    default_cluster: String,
    /// Image of the proxy and of the local cache: memcached >= 1.6.40, built with the proxy
    #[arg(long, env = "MEMCACHED_INJECTOR_IMAGE", default_value = "memcached:1.6.45")]
    image: String,
    /// The cluster's DNS domain
    #[arg(long, env = "MEMCACHED_INJECTOR_CLUSTER_DOMAIN", default_value = "cluster.local")]
    cluster_domain: String,
    /// User id of the containers we add; `none` leaves it to the platform, as OpenShift wants
    #[arg(long, env = "MEMCACHED_INJECTOR_RUN_AS_USER", default_value = "11211")]
    run_as_user: String,
    /// Listen on ::1 as well (memcached exits where IPv6 is off)
    #[arg(long, env = "MEMCACHED_INJECTOR_IPV6_LOOPBACK")]
    ipv6_loopback: bool,
    /// Namespaces that are never touched, besides kube-system and the default cluster's (repeatable)
    #[arg(long = "exclude-namespace", env = "MEMCACHED_INJECTOR_EXCLUDE_NAMESPACES", value_delimiter = ',')]
    exclude_namespaces: Vec<String>,
}

/// Settings that can't be wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What `enabled` means on a namespace.
    pub default_mode: ModeName,
    /// The cluster of pods that name none.
    pub default_cluster: ClusterId,
    /// Image of every container we add.
    pub image: String,
    /// Without dots at its ends.
    pub cluster_domain: String,
    /// `None`: left to the platform.
    pub run_as_user: Option<u32>,
    /// Also listen on `::1`.
    pub ipv6_loopback: bool,
    /// Never touched.
    pub excluded_namespaces: BTreeSet<String>,
}

/// A setting that can't be used; the message names the flag.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Not one of the modes.
    #[error("--default-mode {0:?} is not a mode; use one of replicated, failover, sharded")]
    Mode(String),
    /// Not a cluster's name.
    #[error("--default-cluster {value:?}: {problem}")]
    Cluster {
        /// As typed.
        value: String,
        /// What is wrong with it.
        problem: ClusterIdError,
    },
    /// Not an image reference.
    #[error("--image {0:?} is not an image reference such as memcached:1.6.45")]
    Image(String),
    /// Not a DNS domain.
    #[error("--cluster-domain {0:?} is not a DNS domain such as cluster.local")]
    Domain(String),
    /// Not a user id that restricted Pod Security allows.
    #[error("--run-as-user {0:?}: use a user id from 1 to 4294967294, or none")]
    User(String),
}

/// Where Kubernetes itself lives.
const SYSTEM_NAMESPACES: [&str; 3] = ["kube-system", "kube-public", "kube-node-lease"];

impl SettingsArgs {
    /// Checks what was typed. `own_namespace` is where the injector runs, if it runs in a cluster.
    ///
    /// # Errors
    /// The first setting that can't be used.
    pub fn check(self, own_namespace: Option<&str>) -> Result<Settings, SettingsError> {
        let default_mode = ModeName::parse(&self.default_mode).ok_or(SettingsError::Mode(self.default_mode))?;
        let default_cluster = ClusterId::parse(&self.default_cluster, names::DEFAULT_CACHE_NAMESPACE)
            .map_err(|problem| SettingsError::Cluster { value: self.default_cluster, problem })?;
        if !is_image(&self.image) {
            return Err(SettingsError::Image(self.image));
        }
        let cluster_domain = self.cluster_domain.trim_matches('.').to_owned();
        if cluster_domain.is_empty() || !cluster_domain.split('.').all(is_dns_label) {
            return Err(SettingsError::Domain(self.cluster_domain));
        }
        let excluded_namespaces = SYSTEM_NAMESPACES
            .into_iter()
            .chain([default_cluster.namespace.as_str()])
            .chain(own_namespace)
            .map(str::to_owned)
            .chain(self.exclude_namespaces)
            .collect();
        Ok(Settings {
            default_mode,
            default_cluster,
            image: self.image,
            cluster_domain,
            run_as_user: parse_user(&self.run_as_user).ok_or(SettingsError::User(self.run_as_user))?,
            ipv6_loopback: self.ipv6_loopback,
            excluded_namespaces,
        })
    }
}

fn parse_user(text: &str) -> Option<Option<u32>> {
    if text == "none" {
        return Some(None);
    }
    text.parse().ok().filter(|id| (1..u32::MAX).contains(id)).map(Some)
}

/// Whether `text` may stand as an image reference; the registry decides the rest.
pub fn is_image(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-/:@".contains(c);
    !text.is_empty()
        && text.len() <= 512
        && text.chars().all(allowed)
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// A DNS label as RFC 1123 has it: what Kubernetes names are made of.
pub fn is_dns_label(text: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=63).contains(&text.len()) && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            default_mode: ModeName::Replicated,
            default_cluster: ClusterId {
                namespace: names::DEFAULT_CACHE_NAMESPACE.to_owned(),
                name: "memcached".to_owned(),
            },
            image: "memcached:1.6.45".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
            run_as_user: Some(11211),
            ipv6_loopback: false,
            excluded_namespaces: SYSTEM_NAMESPACES
                .into_iter()
                .chain([names::DEFAULT_CACHE_NAMESPACE])
                .map(str::to_owned)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        settings: SettingsArgs,
    }

    fn check(flags: &[&str]) -> Result<Settings, SettingsError> {
        Cli::try_parse_from(["test"].iter().chain(flags)).unwrap().settings.check(None)
    }

    #[test]
    fn the_flags_defaults_are_the_settings_defaults() {
        assert_eq!(check(&[]).unwrap(), Settings::default());
    }

    #[test]
    fn every_wrong_setting_names_its_flag() {
        for (flag, value) in [
            ("--default-mode", "both"),
            ("--default-cluster", "a/b/c"),
            ("--image", "not an image"),
            ("--cluster-domain", "under_score"),
            ("--run-as-user", "0"),
        ] {
            let message = check(&[flag, value]).unwrap_err().to_string();
            assert!(message.starts_with(flag), "{message}");
            assert!(message.contains(value), "{message}");
        }
    }
}
