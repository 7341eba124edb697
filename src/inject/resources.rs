//! Requests and limits of the containers we add, so that the pod keeps its QoS class and fits its budget.
//!
//! Per resource: what the pod names counts; a resource that the pod budgets as a whole (pod-level resources) is shared,
//! so ours name nothing; otherwise the class decides.

use serde_json::{Map, Value, json};

use crate::pod::Pod;
use crate::qos::{self, QosClass};
use crate::quantity::Quantity;
use crate::reason::{Infeasible, Warning};
use crate::request::{LocalPlace, Mode, Request};

/// Requests and limits of one container; what is `None` is not written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContainerResources {
    /// `requests` and `limits` of cpu.
    pub cpu: Amounts,
    /// The same of memory.
    pub memory: Amounts,
}

/// A request and a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// What the scheduler reserves.
    pub request: Option<Quantity>,
    /// What the kernel enforces.
    pub limit: Option<Quantity>,
}

/// The resources of all that we add.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Of the proxy.
    pub proxy: ContainerResources,
    /// Of the local cache's container, where there is one.
    pub local: ContainerResources,
    /// Requests that had to follow their limits.
    pub warnings: Vec<Warning>,
}

/// What a container takes when nobody says otherwise.
#[derive(Clone, Copy)]
struct Defaults {
    request: Quantity,
    limit: Quantity,
    /// Both in a Guaranteed pod: the request alone would throttle, the burst limit alone would waste.
    guaranteed: Quantity,
}

/// An idle proxy takes next to no CPU; a busy one about half of what its app takes, in bursts.
const CPU: Defaults =
    Defaults { request: Quantity::milli(10), limit: Quantity::milli(1000), guaranteed: Quantity::milli(100) };
/// An idle proxy has 8 MB; the limit leaves room for about a hundred values of 1 MB on their way.
const PROXY_MEMORY_REQUEST_MI: u32 = 32;
const PROXY_MEMORY_LIMIT_MI: u32 = 128;
/// What each further server adds to the limit: a request in flight holds some memory for every server that its proxy knows, 4 kB of it
/// when it writes (`cargo bench --bench routing`: with 1,024 in flight 34 MB before three servers, 144 MB before 30).
const PROXY_MEMORY_SERVER_MI: u32 = 4;
/// Servers that the limit has room for without that.
const FEW_SERVERS: u32 = 3;

impl ContainerResources {
    /// As `resources` of a container; `None` when there is nothing to say.
    pub fn to_json(self) -> Option<Value> {
        let list = |cpu: Option<Quantity>, memory: Option<Quantity>| {
            let mut list = Map::new();
            list.extend(cpu.map(|amount| ("cpu".to_owned(), json!(amount.to_string()))));
            list.extend(memory.map(|amount| ("memory".to_owned(), json!(amount.to_string()))));
            (!list.is_empty()).then_some(Value::Object(list))
        };
        let mut resources = Map::new();
        resources.extend(list(self.cpu.request, self.memory.request).map(|list| ("requests".to_owned(), list)));
        resources.extend(list(self.cpu.limit, self.memory.limit).map(|list| ("limits".to_owned(), list)));
        (!resources.is_empty()).then_some(Value::Object(resources))
    }
}

/// Sizes everything that `request` adds to `pod`. servers: how many the proxy will know.
pub fn sizes(request: &Request, servers: usize, pod: &Pod) -> Sizes {
    let mut sizes = Sizes::default();
    let class = qos::class(pod);
    let asked_cpu = Amounts { request: request.proxy.cpu_request, limit: request.proxy.cpu_limit };
    let asked_memory = Amounts { request: request.proxy.memory_request, limit: request.proxy.memory_limit };
    sizes.proxy = ContainerResources {
        cpu: amounts("cpu", asked_cpu, CPU, class, pod),
        memory: amounts("memory", asked_memory, proxy_memory(request, servers), class, pod),
    };
    if let Some(defaults) = local_memory(request) {
        sizes.local = ContainerResources {
            cpu: amounts("cpu", Amounts::default(), CPU, class, pod),
            memory: amounts("memory", Amounts::default(), defaults, class, pod),
        };
    }
    for (resource, asked, given) in [("cpu", asked_cpu, sizes.proxy.cpu), ("memory", asked_memory, sizes.proxy.memory)]
    {
        if asked.request.is_some() && asked.request != given.request {
            sizes.warnings.push(Warning::RequestFollowsLimit(resource));
        }
    }
    sizes
}

fn proxy_memory(request: &Request, servers: usize) -> Defaults {
    let limit = proxy_memory_limit(servers).saturating_add(Quantity::mebi(inside(request)));
    Defaults { request: proxy_memory_request(request), limit, guaranteed: limit }
}

fn proxy_memory_request(request: &Request) -> Quantity {
    Quantity::mebi(PROXY_MEMORY_REQUEST_MI + inside(request))
}

/// MB of a local cache inside the proxy.
fn inside(request: &Request) -> u32 {
    match &request.mode {
        Mode::Failover(local) if local.place == LocalPlace::Internal => local.memory_mb,
        _ => 0,
    }
}

/// What a proxy that knows so many servers may take where nobody says otherwise, beside a local cache inside it.
pub fn proxy_memory_limit(servers: usize) -> Quantity {
    let further = u32::try_from(servers).unwrap_or(u32::MAX).saturating_sub(FEW_SERVERS);
    Quantity::mebi(PROXY_MEMORY_LIMIT_MI.saturating_add(further.saturating_mul(PROXY_MEMORY_SERVER_MI)))
}

/// Items, and what memcached needs beside them: as the seed has it, a fifth more requested and a half more allowed.
fn local_memory(request: &Request) -> Option<Defaults> {
    let Mode::Failover(local) = &request.mode else {
        return None;
    };
    if local.place == LocalPlace::Internal {
        return None;
    }
    let limit = Quantity::mebi(local.memory_mb + local.memory_mb / 2 + 16);
    let request = Quantity::mebi(local.memory_mb + local.memory_mb / 5);
    Some(Defaults { request, limit, guaranteed: limit })
}

fn amounts(resource: &str, asked: Amounts, defaults: Defaults, class: QosClass, pod: &Pod) -> Amounts {
    if shared(pod, resource) {
        return asked;
    }
    match class {
        QosClass::BestEffort => asked,
        QosClass::Guaranteed => {
            let amount = asked.limit.or(asked.request).unwrap_or(defaults.guaranteed);
            Amounts { request: Some(amount), limit: Some(amount) }
        }
        QosClass::Burstable => burstable(resource, asked, defaults, pod),
    }
}

fn burstable(resource: &str, asked: Amounts, defaults: Defaults, pod: &Pod) -> Amounts {
    let request = wanted(asked, defaults.request);
    // Memory is always bounded. CPU only where every container of the pod bounds it: a ResourceQuota on limits.cpu
    // would refuse a pod with one that doesn't, and anywhere else a bound would only throttle.
    let bounded = resource == "memory" || limited_everywhere(pod, resource);
    let default_limit = bounded.then(|| defaults.limit.max(request));
    Amounts { request: Some(request), limit: asked.limit.or(default_limit) }
}

fn limited_everywhere(pod: &Pod, resource: &str) -> bool {
    pod.all_containers().all(|container| container.resources.as_ref().is_some_and(|of| of.limit(resource).is_some()))
}

/// Whether the pod budgets `resource` as a whole.
fn shared(pod: &Pod, resource: &str) -> bool {
    pod.resources().is_some_and(|budget| budget.request(resource).is_some())
}

/// Whether what we add fits the budget that a pod sets as a whole: the API server refuses a container whose limit is above
/// it and containers that request more than it, and the kernel kills when they use more.
pub fn check_budget(request: &Request, pod: &Pod) -> Vec<Infeasible> {
    let Some(budget) = pod.resources() else { return Vec::new() };
    let proxy = &request.proxy;
    let local = local_memory(request);
    // CPU is shared without harm, so only what the pod asks for by itself counts.
    let (free, memory) = (Quantity::ZERO, proxy_memory_request(request));
    let asked = [
        ("cpu", Amounts { request: proxy.cpu_request, limit: proxy.cpu_limit }, free, None),
        ("memory", Amounts { request: proxy.memory_request, limit: proxy.memory_limit }, memory, local),
    ];
    let checked = asked.into_iter().filter_map(|(resource, asked, default, local)| {
        let (list, has) = match budget.limit(resource) {
            Some(limit) => ("limits", limit),
            None => ("requests", budget.request(resource)?),
        };
        let local = local.map_or(Quantity::ZERO, |local| local.request);
        let ours = wanted(asked, default).saturating_add(local);
        let needs = requested(pod, resource).saturating_add(ours).max(asked.limit.unwrap_or(Quantity::ZERO));
        (needs > has).then_some(Infeasible::PodResources { resource, list, has, needs })
    });
    checked.collect()
}

/// What a container is expected to use: what is asked for, else the default, which no limit lets it exceed.
fn wanted(asked: Amounts, default: Quantity) -> Quantity {
    let default = asked.limit.map_or(default, |limit| limit.min(default));
    asked.request.unwrap_or(default)
}

/// What the pod's own containers request at any one time.
fn requested(pod: &Pod, resource: &str) -> Quantity {
    let of = |container: &crate::pod::Container| {
        container.resources.as_ref().and_then(|resources| resources.request(resource)).unwrap_or(Quantity::ZERO)
    };
    let sum = |all: &mut dyn Iterator<Item = &crate::pod::Container>| {
        all.fold(Quantity::ZERO, |sum, container| sum.saturating_add(of(container)))
    };
    let is_sidecar = |container: &&crate::pod::Container| container.restart_policy.as_deref() == Some("Always");
    let sidecars = sum(&mut pod.init_containers().iter().filter(is_sidecar));
    let running = sum(&mut pod.containers().iter());
    let starting = pod.init_containers().iter().filter(|container| !is_sidecar(container)).map(of).max();
    sidecars.saturating_add(running.max(starting.unwrap_or(Quantity::ZERO)))
}
