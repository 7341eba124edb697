//! SIGTERM: not ready at once, answering on, connections closed, then gone with exit code 0.

use std::time::Duration;

use serde_json::json;
use testbed::admission::review_of;
use testbed::folder::RunFolder;
use testbed::https::Client;
use testbed::process::{Signal, Spec};
use testbed::wait::{Look, until};

use crate::binary;

/// The address in the log line of `listener`.
fn address(line: &str) -> std::net::SocketAddr {
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    line["fields"]["address"].as_str().unwrap().parse().unwrap()
}

#[test]
fn after_sigterm_it_answers_on_and_closes_each_connection_and_then_ends() {
    let folder = RunFolder::new("shutdown").unwrap();
    let tls = folder.path().join("tls");
    let certs = Spec::new("certs", binary()).args(["certs", "--dns", "127.0.0.1", "--out"]).arg(&tls);
    assert!(certs.spawn(folder.path()).unwrap().wait_exit(Duration::from_secs(30)).unwrap().success());
    let webhook = Spec::new("webhook", binary())
        .args(["webhook", "--standalone", "--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"])
        .args(["--shutdown-delay", "3600", "--tls-dir"])
        .arg(&tls)
        .spawn(folder.path())
        .unwrap();
    let line = |listener: &str| {
        webhook.wait_for_line(&format!("\"listener\":\"{listener}\""), Duration::from_secs(30)).unwrap()
    };
    let health = Client::plain(address(&line("health")));
    let admission = Client::tls(address(&line("admission")), "127.0.0.1", &tls.join("ca.crt")).unwrap();
    let ready = |wanted: u16| {
        until("readiness", Duration::from_secs(30), || {
            let (status, why) = health.get("/readyz")?;
            Ok(if status == wanted { Look::Ready(why) } else { Look::NotYet(format!("{status} {why}")) })
        })
    };
    ready(200).unwrap();
    let review = review_of(&json!({"metadata": {}, "spec": {}}), "shop").to_string();
    // While few requests come no connection is kept (webhook/pace.rs); that it answers is what counts here.
    assert_eq!(connection_header(&admission, &review).as_deref(), Some("close"));

    webhook.signal(Signal::TERM).unwrap();
    assert!(ready(503).unwrap().contains("shutting down"));
    assert_eq!(health.get("/healthz").unwrap().0, 200, "alive until the end");
    for _ in 0..3 {
        assert_eq!(connection_header(&admission, &review).as_deref(), Some("close"));
    }
    webhook.signal(Signal::TERM).unwrap();
    assert!(webhook.wait_exit(Duration::from_secs(30)).unwrap().success(), "a second signal ends it at once");
}

fn connection_header(client: &Client, review: &str) -> Option<String> {
    let (status, connection) = client.post_for_header("/inject", review.as_bytes(), "connection").unwrap();
    assert_eq!(status, 200);
    connection
}
