//! A proxy runs the Lua that it is given, and a cache server comes back with its old data.

use testbed::parts::memcached::Server;
use testbed::parts::proxy::Proxy;

/// The least library: everything to the one server whose port the configuration is.
const LIBRARY: &str = r#"
function mcp_config_pools()
    local file = io.open(mcp.start_arg)
    local port = file:read("a")
    file:close()
    return mcp.pool({ mcp.backend("only", "127.0.0.1", port) })
end
function mcp_config_routes(pool)
    local fgen = mcp.funcgen_new()
    local handle = fgen:new_handle(pool)
    fgen:ready({ n = "only", f = function(rctx) return function(r) return rctx:enqueue_and_wait(r, handle) end end })
    mcp.attach(mcp.CMD_ANY_STORAGE, fgen)
end
"#;

#[test]
fn a_proxy_serves_its_library() {
    let server = Server::start().unwrap();
    let proxy = Proxy::start(LIBRARY, &server.address().port().to_string()).unwrap();
    assert!(proxy.client().set("k", b"v", 3, 0).unwrap());
    assert_eq!(server.client().get("k").unwrap().map(|item| item.flags), Some(3));
    proxy.wait_all_up().unwrap();
}

#[test]
fn a_library_that_does_not_load_is_shown_with_its_log() {
    let error = Proxy::start("nonsense(", "").unwrap_err().to_string();
    assert!(error.contains("proxy ended"), "{error}");
}

#[test]
fn a_server_comes_back_with_the_data_it_had() {
    let server = Server::start().unwrap();
    assert!(server.client().set("k", b"v", 7, 1000).unwrap());
    let cas = server.client().gets("k").unwrap().and_then(|item| item.cas);
    server.stop_keeping_data().unwrap();
    server.restart_with_old_data().unwrap();
    let item = server.client().gets("k").unwrap().unwrap();
    assert_eq!((item.value, item.flags, item.cas), (b"v".to_vec(), 7, cas));
    server.restart_empty().unwrap();
    assert_eq!(server.client().get("k").unwrap(), None);
}
