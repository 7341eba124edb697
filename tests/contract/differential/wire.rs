//! A connection that sends any bytes and reads whatever comes back: `mn` behind a request marks the end of its answer.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longer than any promise: what takes this long is an answer that never comes.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) struct Connection(TcpStream);

impl Connection {
    pub(super) fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("dial {address}: {error}"));
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Connection(stream)
    }

    /// The answer, or what was wrong with it. After a problem the connection is of no use.
    pub(super) fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>, String> {
        self.0.write_all(&[request, b"mn\r\n"].concat()).map_err(|error| error.to_string())?;
        let mut got = Vec::new();
        let mut buffer = [0; 65536];
        while !got.ends_with(b"MN\r\n") {
            match self.0.read(&mut buffer) {
                Ok(0) => return Err(format!("connection closed after {:?}", String::from_utf8_lossy(&got))),
                Ok(count) => got.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Err(format!("no answer in {PATIENCE:?}, so far {:?}", String::from_utf8_lossy(&got)));
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        got.truncate(got.len() - 4);
        Ok(got)
    }
}
