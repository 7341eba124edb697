//! From a cluster and a mode to the proxy's configuration: versioned data in Lua syntax, with no logic in it.
//!
//! The library reads it (lua/data.lua); a person who opens the annotation should understand it. Nothing that a user
//! wrote reaches it but through [`quoted`].

use std::fmt::Write as _;

use crate::feasibility::{self, Backing};
use crate::request::{LocalPlace, Mode, Request};

/// The format written. The library names the formats that it reads ([`super::library::FORMATS`]).
pub const FORMAT: u32 = 1;

/// The configuration of a pod's proxy.
pub fn render(request: &Request, backing: &Backing) -> String {
    let cluster = &backing.cluster;
    let mode = request.mode.name().as_str();
    let mut text = format!("-- memcached-injector: {mode} on {}, ring epoch {}\n{{\n", cluster.id, cluster.epoch);
    let mut field = |name: &str, value: String| {
        // Writing to a String can't fail.
        let _ = writeln!(text, "  {name} = {value},");
    };
    field("format", FORMAT.to_string());
    field("mode", quoted(mode));
    field("cluster", quoted(&cluster.id.to_string()));
    field("epoch", cluster.epoch.to_string());
    field("consistency", quoted(cluster.consistency.as_str()));
    field("copies", backing.copies.to_string());
    field("replicas", replicas(backing));
    if let Mode::Failover(local) = &request.mode {
        let server = match local.place {
            LocalPlace::Container => format!("127.0.0.1:{}", feasibility::local_port(request)),
            LocalPlace::Internal => "internal".to_owned(),
        };
        field("local_cache", format!("{{ server = {}, ttl = {} }}", quoted(&server), local.ttl_seconds));
    }
    text.push_str("}\n");
    text
}

fn replicas(backing: &Backing) -> String {
    let mut text = "{\n".to_owned();
    for replica in &backing.cluster.replicas {
        text.push_str("    {\n");
        for server in &replica.servers {
            let _ = writeln!(text, "      {},", quoted(server));
        }
        text.push_str("    },\n");
    }
    text + "  }"
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
    use super::*;

    #[test]
    fn nothing_escapes_a_quoted_string() {
        assert_eq!(quoted("a\"]] os.exit()"), r#""a\"]] os.exit()""#);
        assert_eq!(quoted("a\\\n\0é"), r#""a\\\010\000\195\169""#);
    }
}
