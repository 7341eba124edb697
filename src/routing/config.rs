//! From a cluster and a mode to the proxy's configuration: versioned data in Lua syntax, with no logic in it.
//!
//! The library reads it (lua/data.lua); a person who opens the annotation should understand it. Nothing that a user
//! wrote reaches it but through [`quoted`].

use std::fmt::Write as _;

use crate::feasibility::{self, Backing};
use crate::reason::Infeasible;
use crate::request::{LocalPlace, Mode, ModeName, Request};
use crate::topology::{Cluster, ClusterId, Consistency, Copies, Topology};

/// The newest format; a pod's status says so, and its library reads it ([`super::library::FORMATS`]). Written for clusters
/// with a gutter only.
pub const NEWEST: u32 = 3;
/// The format that pods get for a cluster without a gutter.
pub const FORMAT: u32 = 2;
/// The format of libraries that know no ring: what is listed counts. A pod that was injected with it keeps it.
const WITHOUT_RING: u32 = 1;

/// The configuration of a pod's proxy.
pub fn render(request: &Request, backing: &Backing) -> String {
    let local_cache = match &request.mode {
        Mode::Replicated | Mode::Sharded => None,
        Mode::Failover(local) => {
            let server = match local.place {
                LocalPlace::Container => format!("127.0.0.1:{}", feasibility::local_port(request)),
                LocalPlace::Internal => "internal".to_owned(),
            };
            Some(format!("{{ server = {}, ttl = {} }}", quoted(&server), local.ttl_seconds))
        }
    };
    write(NEWEST, request.mode.name(), backing, local_cache.as_deref())
}

/// Why a running pod's configuration can't be made anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFollowed {
    /// Another release wrote it, for a library that may not read ours.
    #[error("its configuration has another format than {WITHOUT_RING} to {NEWEST}, which are written")]
    Format,
    /// Somebody else wrote it.
    #[error("its configuration was not written by an injector: {0} is missing or not known")]
    Foreign(&'static str),
    /// The cluster is gone, or does not allow the mode any more.
    #[error("{0}")]
    Cluster(#[from] Infeasible),
}

/// The configuration of a pod that runs with `current`, for the cluster as it is now. What belongs to the pod (mode, local
/// cache) stays as it is; the caller compares. `reads`: the newest format that the pod's status says its library reads.
///
/// # Errors
/// When the pod has to keep what it has.
pub fn follow(current: &str, reads: Option<u32>, topology: &Topology) -> Result<String, NotFollowed> {
    let field = |name: &str| field_of(current, name);
    let text = |name| field(name).and_then(|value| value.strip_prefix('"')?.strip_suffix('"'));
    let format = field("format").and_then(|format| format.parse().ok());
    let format = format.filter(|format| (WITHOUT_RING..=NEWEST).contains(format)).ok_or(NotFollowed::Format)?;
    let mode = text("mode").and_then(ModeName::parse).ok_or(NotFollowed::Foreign("mode"))?;
    let cluster =
        text("cluster").and_then(|id| ClusterId::parse(id, "").ok()).ok_or(NotFollowed::Foreign("cluster"))?;
    let (mode, backing) = match feasibility::backing(mode, &cluster, topology) {
        // It was to be one copy; the cluster keeps several by now, and goes before.
        Err(Infeasible::ImpossibleCopies { .. }) if mode == ModeName::Sharded => {
            (ModeName::Replicated, feasibility::backing(ModeName::Replicated, &cluster, topology)?)
        }
        other => (mode, other?),
    };
    let local_cache = field("local_cache");
    if local_cache.is_some() != (mode == ModeName::Failover) {
        return Err(NotFollowed::Foreign("local_cache"));
    }
    let format = reads.map_or(format, |reads| reads.min(NEWEST).max(format));
    Ok(write(format, mode, &backing, local_cache))
}

/// The cluster of a configuration that an injector wrote, and whether its library acts upon rings.
pub fn reads_rings(config: &str) -> Option<(ClusterId, bool)> {
    let format: u32 = field_of(config, "format")?.parse().ok()?;
    let cluster = field_of(config, "cluster")?.strip_prefix('"')?.strip_suffix('"')?;
    Some((ClusterId::parse(cluster, "").ok()?, format > WITHOUT_RING))
}

fn field_of<'a>(config: &'a str, name: &str) -> Option<&'a str> {
    let line = config.lines().find_map(|line| line.strip_prefix("  ")?.strip_prefix(name)?.strip_prefix(" = "));
    line.and_then(|value| value.strip_suffix(','))
}

/// reads: the newest format that may be written; it is where the cluster has what no older one can say.
fn write(reads: u32, mode: ModeName, backing: &Backing, local_cache: Option<&str>) -> String {
    let (cluster, mode) = (&backing.cluster, mode.as_str());
    // Without marks (fastest) proxies would not go to a stand-in together.
    let has_gutter = !cluster.gutter.is_empty() && cluster.consistency == Consistency::Coherent;
    let format = if has_gutter { reads } else { reads.min(FORMAT) };
    let mut text = format!("-- memcached-injector: {mode} on {}, ring epoch {}\n{{\n", cluster.id, cluster.epoch);
    let mut field = |name: &str, value: String| {
        // Writing to a String can't fail.
        let _ = writeln!(text, "  {name} = {value},");
    };
    field("format", format.to_string());
    field("mode", quoted(mode));
    field("cluster", quoted(&cluster.id.to_string()));
    field("epoch", cluster.epoch.to_string());
    field("consistency", quoted(cluster.consistency.as_str()));
    field("copies", backing.copies.to_string());
    if format > WITHOUT_RING {
        let by = if cluster.copies == Copies::Undeclared { "mode" } else { "cluster" };
        field("copies_by", quoted(by));
        let counting = cluster.replicas.iter().map(|replica| replica.servers.len()).min().unwrap_or_default();
        field("servers", counting.to_string());
    }
    field("replicas", replicas(cluster, format > WITHOUT_RING));
    if format > FORMAT {
        field("gutter", list("  ", cluster.gutter.iter().map(|server| quoted(server))));
    }
    if let Some(local_cache) = local_cache {
        field("local_cache", local_cache.to_owned());
    }
    text.push_str("}\n");
    text
}

fn replicas(cluster: &Cluster, joining: bool) -> String {
    let lists = cluster.replicas.iter().map(|replica| {
        let servers = replica.servers.iter().chain(replica.joining.iter().filter(|_| joining));
        list("    ", servers.map(|server| quoted(server)))
    });
    list("  ", lists)
}

/// A Lua list, a line for each item, that ends at this indentation.
fn list(indentation: &str, items: impl Iterator<Item = String>) -> String {
    let mut text = "{\n".to_owned();
    for item in items {
        let _ = writeln!(text, "{indentation}  {item},");
    }
    text + indentation + "}"
}

/// A Lua string literal that means exactly `text`, whatever is in it.
fn quoted(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => literal.extend(['\\', char::from(byte)]),
            b' '..=b'~' => literal.push(char::from(byte)),
            _ => {
                let _ = write!(literal, "\\{byte:03}");
            }
        }
    }
    literal + "\""
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::request::{LocalCache, ProxyResources};
    use crate::settings::Settings;
    use crate::topology::built_in;

    fn request(mode: Mode) -> Request {
        let settings = Settings::default();
        Request {
            mode,
            cluster: settings.default_cluster,
            port: 11311,
            proxy: ProxyResources::default(),
            image: settings.image,
        }
    }

    fn grown() -> Topology {
        let mut topology = built_in(&Settings::default());
        let cluster = topology.clusters.values_mut().next().unwrap().as_mut().unwrap();
        cluster.replicas[0].servers.push("memcached-3.x.y.svc.cluster.local.:11211".to_owned());
        cluster.epoch = 2;
        topology
    }

    #[test]
    fn following_gives_what_a_new_pod_would_get() {
        let local = LocalCache { place: LocalPlace::Container, memory_mb: 64, ttl_seconds: 30 };
        for mode in [Mode::Replicated, Mode::Sharded, Mode::Failover(local)] {
            let request = request(mode);
            let on = |topology: &Topology| {
                let backing = feasibility::backing(request.mode.name(), &request.cluster, topology).unwrap();
                render(&request, &backing)
            };
            let (before, after) = (on(&built_in(&Settings::default())), on(&grown()));
            assert_eq!(follow(&before, None, &built_in(&Settings::default())), Ok(before.clone()));
            assert_eq!(follow(&before, None, &grown()), Ok(after));
        }
    }

    /// Its library would take what joins for what counts, so it never hears of it.
    #[test]
    fn a_pod_of_the_first_format_keeps_it_and_learns_of_no_server_that_joins() {
        let mut topology = built_in(&Settings::default());
        let backing = feasibility::backing(ModeName::Sharded, &request(Mode::Sharded).cluster, &topology).unwrap();
        let old = write(WITHOUT_RING, ModeName::Sharded, &backing, None);
        assert!(old.contains("format = 1,") && !old.contains("\n  servers =") && !old.contains("copies_by"), "{old}");
        let cluster = topology.clusters.values_mut().next().unwrap().as_mut().unwrap();
        cluster.replicas[0].joining.push("memcached-3.x.y.svc.cluster.local.:11211".to_owned());
        assert_eq!(follow(&old, None, &topology), Ok(old));
        let new = follow(&render(&request(Mode::Sharded), &backing), None, &topology).unwrap();
        assert!(new.contains("servers = 3,") && new.contains("memcached-3."), "{new}");
    }

    /// Its library would refuse what it does not know, and with it every later change.
    #[test]
    fn only_a_library_that_reads_it_is_told_of_a_gutter() {
        let mut topology = built_in(&Settings::default());
        let request = request(Mode::Sharded);
        let backing =
            |topology: &Topology| feasibility::backing(ModeName::Sharded, &request.cluster, topology).unwrap();
        let before = render(&request, &backing(&topology));
        assert!(before.contains("format = 2,") && !before.contains("gutter"), "{before}");
        let cluster = topology.clusters.values_mut().next().unwrap().as_mut().unwrap();
        cluster.gutter = vec!["spare-0.x.y.svc.cluster.local.:11211".to_owned()];
        assert_eq!(follow(&before, None, &topology), Ok(before.clone()), "an older library");
        assert_eq!(follow(&before, Some(2), &topology), Ok(before.clone()));
        let with = render(&request, &backing(&topology));
        let line = "  gutter = {\n    \"spare-0.x.y.svc.cluster.local.:11211\",\n  },\n";
        assert!(with.contains("format = 3,") && with.contains(line), "{with}");
        for reads in [3, 4] {
            assert_eq!(follow(&before, Some(reads), &topology), Ok(with.clone()));
        }
        assert_eq!(follow(&with, None, &topology), Ok(with.clone()));
        assert_eq!(follow(&with, Some(3), &built_in(&Settings::default())), Ok(before), "when it is gone");
        topology.clusters.values_mut().next().unwrap().as_mut().unwrap().consistency = Consistency::Fastest;
        assert!(!render(&request, &backing(&topology)).contains("gutter"), "without marks there is no stand-in");
    }

    /// Otherwise it would never learn of new servers, and no ring could change.
    #[test]
    fn a_sharded_pod_goes_by_a_cluster_that_declares_more_copies_by_now() {
        let mut topology = built_in(&Settings::default());
        let backing = feasibility::backing(ModeName::Sharded, &request(Mode::Sharded).cluster, &topology).unwrap();
        let before = render(&request(Mode::Sharded), &backing);
        topology.clusters.values_mut().next().unwrap().as_mut().unwrap().copies = Copies::Number(2);
        let after = follow(&before, None, &topology).unwrap();
        for line in ["mode = \"replicated\",", "copies = 2,", "copies_by = \"cluster\","] {
            assert!(after.contains(line), "{after}");
        }
        assert_eq!(follow(&after, None, &topology), Ok(after.clone()));
    }

    #[test]
    fn what_another_wrote_is_left_alone() {
        let topology = grown();
        let backing = feasibility::backing(ModeName::Sharded, &request(Mode::Sharded).cluster, &topology).unwrap();
        let ours = render(&request(Mode::Sharded), &backing);
        assert_eq!(follow(&ours.replace("format = 2", "format = 4"), None, &topology), Err(NotFollowed::Format));
        assert_eq!(
            follow(&ours.replace("mode = \"sharded\"", "mode = \"both\""), None, &topology),
            Err(NotFollowed::Foreign("mode"))
        );
        assert_eq!(follow("{}", None, &topology), Err(NotFollowed::Format));
        assert!(matches!(follow(&ours, None, &Topology::default()), Err(NotFollowed::Cluster(_))));
    }

    /// What a Lua string literal means, by Lua's rules for the escapes that are written.
    fn meaning(literal: &str) -> Vec<u8> {
        let inner = literal.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
        let (mut bytes, mut meant) = (inner.bytes(), Vec::new());
        while let Some(byte) = bytes.next() {
            assert!((b' '..=b'~').contains(&byte) && byte != b'"', "{byte} ends or breaks the literal {literal}");
            let escaped = (byte == b'\\').then(|| bytes.next().unwrap());
            meant.push(match escaped {
                None => byte,
                Some(digit) if digit.is_ascii_digit() => {
                    let digits = [digit, bytes.next().unwrap(), bytes.next().unwrap()];
                    std::str::from_utf8(&digits).unwrap().parse().unwrap()
                }
                Some(mark) => mark,
            });
        }
        meant
    }

    proptest! {
        #[test]
        fn a_quoted_string_means_what_was_written_and_nothing_else(text in any::<String>()) {
            prop_assert_eq!(meaning(&quoted(&text)), text.as_bytes());
        }

        /// The cluster's name is the only text of an annotation that gets into the configuration, also into its comment.
        #[test]
        fn no_annotation_brings_more_than_a_name(text in "[a-z0-9/\\-\"\\]\\[\n(){},=. ]{0,40}") {
            let Ok(id) = ClusterId::parse(&text, "shop") else { return Ok(()) };
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '/';
            prop_assert!(id.to_string().chars().all(plain), "{}", id);
            let mut topology = grown();
            let (_, mut cluster) = topology.clusters.pop_first().unwrap();
            cluster.as_mut().unwrap().id = id.clone();
            topology.clusters.insert(id.clone(), cluster);
            let request = Request { cluster: id.clone(), ..request(Mode::Sharded) };
            let backing = feasibility::backing(ModeName::Sharded, &id, &topology).unwrap();
            let (once, again) = (render(&request, &backing), render(&request, &backing));
            prop_assert_eq!(&once, &again);
            let others = render(&request, &Backing { cluster: Cluster { id: request_id(), ..backing.cluster }, copies: backing.copies });
            prop_assert_eq!(once.replace(&id.to_string(), "NAME"), others.replace(&request_id().to_string(), "NAME"));
        }
    }

    fn request_id() -> ClusterId {
        ClusterId { namespace: "other".to_owned(), name: "cluster".to_owned() }
    }

    #[test]
    fn nothing_escapes_a_quoted_string() {
        assert_eq!(quoted("a\"]] os.exit()"), r#""a\"]] os.exit()""#);
        assert_eq!(quoted("a\\\n\0é"), r#""a\\\010\000\195\169""#);
    }
}
