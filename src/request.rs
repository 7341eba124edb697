//! What a pod asks for: its annotations and its namespace's defaults, as written, then checked once.
//!
//! Whether it gets it is decided in decide.rs. Unknown keys are looked at in unknown.rs.

use std::str::FromStr;

use crate::names::annotation;
use crate::namespace::Namespace;
use crate::pod::Pod;
use crate::quantity::Quantity;
use crate::reason::{Problem, Source};
use crate::settings::{Settings, is_image};
use crate::topology::ClusterId;

/// A mode by name, as it stands in the annotation `memcached.io/mode` or the namespace label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModeName {
    /// Every key on several servers.
    Replicated,
    /// A local cache first, then the cluster.
    Failover,
    /// One copy of each key.
    Sharded,
}

impl ModeName {
    /// All of them, in the order in which messages list them.
    pub const ALL: [ModeName; 3] = [ModeName::Replicated, ModeName::Failover, ModeName::Sharded];

    /// As users spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            ModeName::Replicated => "replicated",
            ModeName::Failover => "failover",
            ModeName::Sharded => "sharded",
        }
    }

    /// The mode of that exact name.
    pub fn parse(text: &str) -> Option<ModeName> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == text)
    }
}

/// What localhost:11211 is to be, with what only that mode needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Every key on several servers.
    Replicated,
    /// One copy of each key.
    Sharded,
    /// A local cache first.
    Failover(LocalCache),
}

impl Mode {
    /// Its name.
    pub fn name(&self) -> ModeName {
        match self {
            Mode::Replicated => ModeName::Replicated,
            Mode::Sharded => ModeName::Sharded,
            Mode::Failover(_) => ModeName::Failover,
        }
    }
}

/// The small cache in the pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalCache {
    /// Its own container, or the proxy's memory.
    pub place: LocalPlace,
    /// MB of items, 8 to 16384.
    pub memory_mb: u32,
    /// Seconds that a local copy is served at most, 1 to 86400.
    pub ttl_seconds: u32,
}

/// Where the local cache lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalPlace {
    /// A memcached of its own, on the port after the proxy's.
    Container,
    /// The proxy process' own memory.
    Internal,
}

/// A pod's request, every value checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is asked for.
    pub mode: Mode,
    /// Backed by which cluster.
    pub cluster: ClusterId,
    /// The app's port on localhost, 1024 to 65534 (we run as no root; the local cache takes the next).
    pub port: u16,
    /// The proxy's resources where the pod names them.
    pub proxy: ProxyResources,
    /// Image of the containers we add.
    pub image: String,
}

/// What a pod says about the proxy's resources; what it leaves out keeps its default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProxyResources {
    /// `memcached.io/proxy-cpu-request`
    pub cpu_request: Option<Quantity>,
    /// `memcached.io/proxy-cpu-limit`
    pub cpu_limit: Option<Quantity>,
    /// `memcached.io/proxy-memory-request`
    pub memory_request: Option<Quantity>,
    /// `memcached.io/proxy-memory-limit`
    pub memory_limit: Option<Quantity>,
}

/// Smallest memory that a proxy starts in and serves 1 MB values with (idle it takes 6 MB).
const LEAST_PROXY_MEMORY: &str = "16Mi";

/// Reads all that `pod` asks for, apart from the mode, which the caller has found already.
///
/// # Errors
/// Every value that can't be used, not only the first.
pub fn read(mode: ModeName, pod: &Pod, namespace: &Namespace, settings: &Settings) -> Result<Request, Vec<Problem>> {
    let mut values = Values { pod, namespace, problems: Vec::new() };
    let request = Request {
        mode: match mode {
            ModeName::Replicated => Mode::Replicated,
            ModeName::Sharded => Mode::Sharded,
            ModeName::Failover => Mode::Failover(values.local_cache()),
        },
        cluster: values.get(annotation::CLUSTER, settings.default_cluster.clone(), |text| {
            ClusterId::parse(text, &settings.default_cluster.namespace).map_err(|error| error.to_string())
        }),
        port: values.get(annotation::PORT, crate::names::MEMCACHED_PORT, |text| {
            whole_number(text, 1024..=65534, "use a port from 1024 to 65534")
        }),
        proxy: values.proxy_resources(),
        image: values.get(annotation::PROXY_IMAGE, settings.image.clone(), |text| {
            if is_image(text) {
                Ok(text.to_owned())
            } else {
                Err("use an image reference such as memcached:1.6.45".to_owned())
            }
        }),
    };
    if values.problems.is_empty() { Ok(request) } else { Err(values.problems) }
}

/// Looks values up on the pod first, then on its namespace, and collects what is wrong with them.
struct Values<'a> {
    pod: &'a Pod,
    namespace: &'a Namespace,
    problems: Vec<Problem>,
}

impl Values<'_> {
    fn get<T>(&mut self, key: &'static str, default: T, parse: impl Fn(&str) -> Result<T, String>) -> T {
        let on_pod = self.pod.annotation(key).map(|value| (Source::Pod, value));
        let on_namespace = || {
            let value = self.namespace.annotations.get(key)?;
            Some((Source::Namespace(self.namespace.name.clone()), value.as_str()))
        };
        let Some((source, value)) = on_pod.or_else(on_namespace) else {
            return default;
        };
        match parse(value) {
            Ok(parsed) => parsed,
            Err(expected) => {
                self.problems.push(Problem::InvalidValue { key, value: value.to_owned(), source, expected });
                default
            }
        }
    }

    fn local_cache(&mut self) -> LocalCache {
        LocalCache {
            place: self.get(annotation::LOCAL_CACHE, LocalPlace::Container, |text| match text {
                "container" => Ok(LocalPlace::Container),
                "internal" => Ok(LocalPlace::Internal),
                _ => Err(one_of(text, &["container", "internal"])),
            }),
            memory_mb: self.get(annotation::LOCAL_CACHE_MEMORY, 64, |text| {
                whole_number(text, 8..=16384, "use a number of MB from 8 to 16384, such as 64, without a unit")
            }),
            ttl_seconds: self.get(annotation::LOCAL_TTL, 10, seconds),
        }
    }

    fn proxy_resources(&mut self) -> ProxyResources {
        let proxy = ProxyResources {
            cpu_request: self.get(annotation::PROXY_CPU_REQUEST, None, cpu),
            cpu_limit: self.get(annotation::PROXY_CPU_LIMIT, None, cpu),
            memory_request: self.get(annotation::PROXY_MEMORY_REQUEST, None, memory),
            memory_limit: self.get(annotation::PROXY_MEMORY_LIMIT, None, memory),
        };
        for (request, limit, key, limit_key) in [
            (proxy.cpu_request, proxy.cpu_limit, annotation::PROXY_CPU_REQUEST, annotation::PROXY_CPU_LIMIT),
            (
                proxy.memory_request,
                proxy.memory_limit,
                annotation::PROXY_MEMORY_REQUEST,
                annotation::PROXY_MEMORY_LIMIT,
            ),
        ] {
            if let (Some(request), Some(limit)) = (request, limit)
                && request > limit
            {
                self.problems.push(Problem::RequestOverLimit { key, request, limit_key, limit });
            }
        }
        proxy
    }
}

fn cpu(text: &str) -> Result<Option<Quantity>, String> {
    let expected = "use a positive amount of CPU such as 100m or 0.5";
    match text.parse::<Quantity>() {
        Ok(amount) if amount > Quantity::ZERO => Ok(Some(amount)),
        _ => Err(expected.to_owned()),
    }
}

fn memory(text: &str) -> Result<Option<Quantity>, String> {
    let least = LEAST_PROXY_MEMORY.parse::<Quantity>().unwrap_or(Quantity::ZERO);
    match text.parse::<Quantity>() {
        Ok(amount) if amount >= least => Ok(Some(amount)),
        _ => Err(format!("use an amount of memory such as 64Mi, at least {LEAST_PROXY_MEMORY}")),
    }
}

fn whole_number<T>(text: &str, range: std::ops::RangeInclusive<T>, expected: &str) -> Result<T, String>
where
    T: FromStr + PartialOrd,
{
    text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| expected.to_owned())
}

/// `10s`, `2m`, `1h`: memcached counts lifetimes in whole seconds.
fn seconds(text: &str) -> Result<u32, String> {
    let expected = || "use a time from 1s to 24h, such as 10s, 2m or 1h".to_owned();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(expected()),
    };
    let number: u32 = digits.parse().map_err(|_| expected())?;
    number.checked_mul(unit).filter(|seconds| (1..=86_400).contains(seconds)).ok_or_else(expected)
}

/// "one of a, b", with a suggestion when `text` is close to one of them.
pub fn one_of(text: &str, choices: &[&str]) -> String {
    let list = choices.join(", ");
    match crate::unknown::closest(text, choices) {
        Some(near) if choices.len() == 1 => format!("did you mean {near:?}?"),
        Some(near) => format!("did you mean {near:?}? It is one of {list}"),
        None => format!("use one of {list}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_and_a_range() {
        assert_eq!(seconds("10s"), Ok(10));
        assert_eq!(seconds("2m"), Ok(120));
        assert_eq!(seconds("24h"), Ok(86_400));
        for wrong in ["", "10", "0s", "25h", "-1s", "s", "1d", "1.5s", "99999999999s", "4294967295h", "1s1s"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
