//! The program behind a proxy: whose address its events have, and what it tells health checks.
#![cfg(all(unix, feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::io::Write;
use std::net::TcpStream;

use serde_json::Value;
use support::Wire;
use support::bytes::{message, upgrade_request};
use support::program::Server;

const CLIENT: &str = "203.0.113.7:4711";
const LINE: &[u8] = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 443\r\n";

/// Waits for an event of this name.
fn event(server: &Server, name: &str) -> Value {
    server
        .process()
        .wait_for(name, |line| line.event(name).cloned())
}

/// Returns the addresses of an event: the peer's, and that of the proxy.
fn who(event: &Value) -> (&str, Option<&str>) {
    let text = |key: &str| event.get(key).and_then(Value::as_str);
    (text("peer").unwrap(), text("via"))
}

#[test]
fn events_have_the_address_of_the_client_and_beside_it_that_of_the_proxy() {
    for wire in [Wire::WebSocket, Wire::Line] {
        let server = Server::start(
            &[wire],
            &["--proxy-protocol", "--trust-proxy", "127.0.0.0/8"],
        );
        let mut peer = TcpStream::connect(server.addr(wire)).unwrap();
        let behind = match wire {
            Wire::WebSocket => upgrade_request("/", ""),
            Wire::Line | Wire::Binary => message(wire, b"hello"),
        };
        peer.write_all(&[LINE, &behind].concat()).unwrap();
        let proxy = peer.local_addr().unwrap().to_string();
        let open = event(&server, "open");
        assert_eq!(who(&open), (CLIENT, Some(proxy.as_str())));
        drop(peer);
        let closed = event(&server, "closed");
        assert_eq!(who(&closed), (CLIENT, Some(proxy.as_str())));
    }
}

#[test]
fn events_have_the_address_that_a_trusted_proxy_names_in_a_request() {
    for (trusted, is_believed) in [("127.0.0.1", true), ("127.0.0.2", false)] {
        let wires = [Wire::WebSocket, Wire::Line];
        let server = Server::start(&wires, &["--trust-proxy", trusted]);
        let mut peer = TcpStream::connect(server.addr(Wire::WebSocket)).unwrap();
        let fields = "X-Forwarded-For: 6.6.6.6, 203.0.113.7\r\n";
        peer.write_all(&upgrade_request("/", fields)).unwrap();
        let own = peer.local_addr().unwrap().to_string();
        let expected = match is_believed {
            true => ("203.0.113.7:0", Some(own.as_str())),
            false => (own.as_str(), None),
        };
        assert_eq!(who(&event(&server, "open")), expected);
    }
}

#[test]
fn a_header_that_nobody_asked_for_is_refused() {
    let server = Server::start(&[Wire::WebSocket], &[]);
    let mut peer = TcpStream::connect(server.addr(Wire::WebSocket)).unwrap();
    peer.write_all(LINE).unwrap();
    let rejected = event(&server, "rejected");
    let own = peer.local_addr().unwrap().to_string();
    assert_eq!(who(&rejected), (own.as_str(), None));
    assert_eq!(rejected["cause"], "protocol_error");
}
