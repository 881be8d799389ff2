//! `connect` through the proxies of others, to `serve`.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::place::Place;
use crate::support::process::Process;
use crate::support::program::{self, Server};
use crate::support::secure::{Files, addr, serve, wait_event};
use crate::support::{PATIENCE, Wire};

/// A port that was free just now: these proxies cannot say which one the kernel chose.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

fn await_port(proxy: &Process, port: u16) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "{}", proxy.transcript());
        thread::sleep(Duration::from_millis(10));
    }
}

/// Starts tinyproxy, which lets only `me` with `secret` through.
fn tinyproxy() -> (Process, u16) {
    let (place, port) = (Place::new(), free_port());
    let config = place.path().join("tinyproxy.conf");
    let text = format!("Port {port}\nListen 127.0.0.1\nTimeout 600\nBasicAuth me secret\n");
    fs::write(&config, text).unwrap();
    let mut command = Command::new("tinyproxy");
    command.arg("-d").arg("-c").arg(&config);
    let proxy = Process::spawn(&mut command, "install the package tinyproxy-bin").keeping(place);
    await_port(&proxy, port);
    (proxy, port)
}

/// Starts microsocks, which does the same over SOCKS5.
fn microsocks() -> (Process, u16) {
    let port = free_port();
    let mut command = Command::new("microsocks");
    let port_text = port.to_string();
    command.args([
        "-i",
        "127.0.0.1",
        "-p",
        &port_text,
        "-u",
        "me",
        "-P",
        "secret",
    ]);
    let proxy = Process::spawn(&mut command, "install the package microsocks");
    await_port(&proxy, port);
    (proxy, port)
}

/// Talks through the proxy over TLS, which the proxy does not understand. The certificate is that of the server.
fn leads_to_the_secure_server(scheme: &str, port: u16) {
    let files = Files::new();
    files.issue("a", &["localhost"]);
    let server = serve(&["--wss"], &[&files.flags("a")]);
    let url = format!("wss://localhost:{}", addr(&server, "wss").port());
    let proxy = format!("{scheme}me:secret@127.0.0.1:{port}");
    let root = files.path("root.pem");
    let args = ["connect", &url, "--json", "--proxy", &proxy, "--ca", &root];
    let client = program::start(&args);
    wait_event(&client, 0, "open");
    client.input().say("through the proxy");
    assert_eq!(
        wait_event(&client, 0, "message")["text"],
        "through the proxy"
    );
}

/// Talks through the proxy on two wires, and is turned away with another password and behind the proxy.
fn leads_to_the_server(scheme: &str, port: u16, closed: &str) {
    let server = Server::start(&[Wire::WebSocket, Wire::Line], &[]);
    let proxy = format!("{scheme}me:secret@127.0.0.1:{port}");
    for wire in [Wire::WebSocket, Wire::Line] {
        // The proxy looks the name up.
        let url = server.url(wire).replace("127.0.0.1", "localhost");
        let mut client = program::start(&["connect", &url, "--json", "--proxy", &proxy]);
        client.wait_for("open", |line| line.event("open").cloned());
        client.wait_for("a pong", |line| line.event("pong").cloned());
        client.input().say("through the proxy");
        client.wait_for("the echo", |line| {
            line.text.contains("through the proxy").then_some(())
        });
        client.input().end();
        client.signal(rustix::process::Signal::INT);
        assert!(client.wait_exit().success(), "{}", client.transcript());
    }
    let failed = |url: &str, proxy: &str| {
        let args = ["connect", url, "--json", "--no-reconnect", "--proxy", proxy];
        let mut client = program::start(&args);
        assert_eq!(
            client.wait_exit().code(),
            Some(3),
            "{}",
            client.transcript()
        );
        client.wait_for("failed", |line| line.event("failed").cloned())
    };
    let wrong = format!("{scheme}me:wrong@127.0.0.1:{port}");
    let refused = failed(&server.url(Wire::Line), &wrong);
    assert_eq!(refused["failure"], "proxy_refused", "{refused}");
    let nobody = format!("tcp://127.0.0.1:{}", free_port());
    let unreachable = failed(&nobody, &proxy);
    assert_eq!(unreachable["failure"], "proxy_refused", "{unreachable}");
    let error = unreachable["error"].as_str().unwrap();
    assert!(error.contains(closed), "{error}");
}

#[test]
#[ignore = "needs tinyproxy: install tinyproxy-bin"]
fn tinyproxy_leads_to_the_server() {
    let (_proxy, port) = tinyproxy();
    leads_to_the_server("http://", port, "50");
    leads_to_the_secure_server("http://", port);
}

#[test]
#[ignore = "needs microsocks: install microsocks"]
fn microsocks_leads_to_the_server() {
    let (_proxy, port) = microsocks();
    leads_to_the_server("socks5h://", port, "connection refused");
    leads_to_the_secure_server("socks5h://", port);
}
