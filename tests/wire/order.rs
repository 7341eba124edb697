//! The order of a key's servers, run by the Lua that memcached brings: `tests/lua/order.lua` has the claims.

use crate::proxy::Proxy;

#[test]
fn key_order_is_fixed_even_and_moves_little_when_a_ring_grows() {
    let order = include_str!("../../src/routing/lua/order.lua");
    let claims = include_str!("../lua/order.lua");
    let vectors = include_str!("../lua/order-vectors.txt");
    let log = Proxy::run_lua(&format!("M = {{}}\nVECTORS = [==[\n{vectors}]==]\ndo\n{order}\nend\n{claims}"));
    assert!(log.contains("order: all claims hold"), "{log}");
}
