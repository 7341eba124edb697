//! A pod's sidecars run from the pod's own words: files, commands, probes, order.

use std::time::Duration;

use serde_json::{Value, json};
use testbed::client::Client;
use testbed::parts::kubelet::{Host, Pod};
use testbed::parts::memcached::Server;
use testbed::ports;
use testbed::workload::Workload;

/// A pod with one proxy, as an injector might write it. The library reads its configuration from a file beside it.
fn pod(port: u16, config: &str) -> Value {
    let probe = format!(":{port:04X} 00000000:0000 0A");
    json!({
        "metadata": {"name": "web-0", "annotations": {"memcached.io/port": port.to_string(), "memcached.io/proxy-config": config}},
        "spec": {
            "volumes": [{"name": "memcached-proxy", "projected": {"sources": [
                {"downwardAPI": {"items": [{"path": "config.lua",
                    "fieldRef": {"fieldPath": "metadata.annotations['memcached.io/proxy-config']"}}]}},
                {"configMap": {"name": "library", "items": [{"key": "library.lua", "path": "library.lua"}]}},
            ]}}],
            "initContainers": [{
                "name": "memcached-proxy",
                "restartPolicy": "Always",
                "command": ["memcached", "-l", "127.0.0.1", "-p", port.to_string(), "-U", "0", "-t", "1", "-o",
                    "proxy_config=/etc/memcached-proxy/library.lua,proxy_arg=/etc/memcached-proxy/config.lua"],
                "volumeMounts": [{"name": "memcached-proxy", "mountPath": "/etc/memcached-proxy", "readOnly": true}],
                "startupProbe": {"exec": {"command": ["grep", "-q", probe, "/proc/net/tcp"]}, "periodSeconds": 1, "failureThreshold": 20},
            }],
        },
    })
}

/// Sends everything to the one server that the configuration names.
const LIBRARY: &str = r#"
function mcp_config_pools()
    local address = dofile(mcp.start_arg).server
    local host, port = address:match("^(.*):(%d+)$")
    return mcp.pool({ mcp.backend("b", host, port) })
end
function mcp_config_routes(pool)
    local route = mcp.funcgen_new()
    local handle = route:new_handle(pool)
    route:ready({ n = "one", f = function(context)
        return function(request) return context:enqueue_and_wait(request, handle) end
    end })
    mcp.attach(mcp.CMD_ANY_STORAGE, route)
end
"#;

#[test]
fn a_pods_proxy_serves_from_the_server_that_its_configuration_names() {
    let server = Server::start().unwrap();
    let port = ports::free().unwrap();
    let mut host = Host::default();
    host.dns.insert("m-0.svc.:11211".into(), server.address());
    host.config_maps.insert("library".into(), json!({"data": {"library.lua": LIBRARY}}));
    let running = Pod::start(&pod(port.number(), r#"return { server = "m-0.svc.:11211" }"#), &host).unwrap();

    let mut workload = Workload::new(running.address(), "k", 20, 100);
    let written = workload.write_all();
    assert_eq!((written.stored, written.errors), (20, 0), "{written:?}");
    assert_eq!(workload.read_all().hits, 20);
    assert_eq!(server.stat("curr_items").unwrap(), 20);
    let mut client = Client::new(running.address()).with_timeout(Duration::from_secs(5));
    assert!(client.raw("mn").unwrap().starts_with("MN"));
    assert!(running.commands()[0].1.iter().any(|word| word.contains("proxy_config=") && !word.contains("/etc/")));
}

#[test]
fn a_pod_that_was_not_injected_is_refused() {
    let error = Pod::start(&json!({"spec": {"containers": []}}), &Host::default()).unwrap_err();
    assert!(error.to_string().contains("was not injected"), "{error:#}");
}
