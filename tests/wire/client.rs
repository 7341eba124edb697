//! A memcached client for the wire tests: it sends bytes, compares bytes, and says both when they differ. Knows no command
//! but `mn`, which marks the end of an answer, and `stats`.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::proxy::PATIENCE;

/// A connection that says what it sends and compares what it reads.
pub(crate) struct Client {
    stream: TcpStream,
}

impl Client {
    pub(crate) fn new(port: u16) -> Client {
        let stream =
            TcpStream::connect(("127.0.0.1", port)).unwrap_or_else(|err| panic!("dialling port {port}: {err}"));
        stream.set_read_timeout(Some(PATIENCE)).expect("a read timeout");
        stream.set_nodelay(true).expect("no delay");
        Client { stream }
    }

    pub(crate) fn send(&mut self, request: &[u8]) {
        self.stream.write_all(request).unwrap_or_else(|err| panic!("sending {}: {err}", short(request)));
    }

    /// Reads exactly `answer`, and nothing more is on its way: a `mn` behind the request marks the end.
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>, answer: impl AsRef<[u8]>) {
        let (request, answer) = (request.as_ref(), answer.as_ref());
        let got = self.exchange(request);
        assert!(got == answer, "\nsent     {}\nexpected {}\ngot      {}\n", short(request), short(answer), short(&got));
    }

    /// The answer to `request`, whatever it is.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Vec<u8> {
        self.send(request);
        self.send(b"mn\r\n");
        let mut got = Vec::new();
        let mut buffer = [0; 65536];
        while !got.ends_with(b"MN\r\n") {
            match self.stream.read(&mut buffer) {
                Ok(0) => panic!("connection closed after {}; it had answered {}", short(request), short(&got)),
                Ok(size) => got.extend_from_slice(&buffer[..size]),
                Err(err) => panic!("no answer to {}: {err}; so far {}", short(request), short(&got)),
            }
        }
        got.truncate(got.len() - 4);
        got
    }

    /// As text; for requests whose answer has none but ASCII.
    pub(crate) fn text(&mut self, request: impl AsRef<[u8]>) -> String {
        String::from_utf8_lossy(&self.exchange(request.as_ref())).into_owned()
    }

    pub(crate) fn stats(&mut self, what: &str) -> String {
        self.text(format!("stats {what}\r\n"))
    }

    /// A counter of `stats`.
    pub(crate) fn stat(&mut self, name: &str) -> u64 {
        let all = self.text("stats\r\n");
        let line = all.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
        line.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("no number {name} in {all}"))
    }
}

/// Enough of some bytes to see what they are.
fn short(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).escape_debug().to_string();
    if bytes.len() > 300 { format!("{text}... ({} bytes)", bytes.len()) } else { text }
}
