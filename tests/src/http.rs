//! A GET of HTTP/1.1 over a plain socket: enough to ask a peer on this machine what it holds.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::peer::PeerError;

/// The longest answer that is read.
const LIMIT: u64 = 1 << 30;

/// The body that a server gives for a path.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<Vec<u8>, PeerError> {
    let failed = |what: &str| PeerError::failed(format!("GET http://{address}{path}: {what}"));
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LIMIT).read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or_else(|| failed("no header came back"))?;
    let (header, body) = answer.split_at(end);
    let header = String::from_utf8_lossy(header);
    let status = header.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(failed(status));
    }
    let body = body.get(4..).unwrap_or_default();
    let length = header.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok()).flatten()
    });
    match length {
        Some(length) => body.get(..length).map(<[u8]>::to_vec).ok_or_else(|| failed("the body was cut short")),
        None => Err(failed("the answer does not say its length")),
    }
}
