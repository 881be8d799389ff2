//! The program behind a proxy: whose address its events have, and what it tells health checks.
#![cfg(all(unix, feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use heartwheel::WireKind;
use rustix::process::Signal;
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use support::bytes::{message, upgrade_request};
use support::place::Place;
use support::process::Process;
use support::program::Server;
use support::raw::RawPeer;
use support::secure::{self, Files, Peer, serve, wait_event};
use support::{PATIENCE, Wire};

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

/// Asks plainly, and returns the status and the whole answer.
fn ask(addr: impl Into<SocketAddr>, line: &str) -> (u16, String) {
    let mut peer = TcpStream::connect(addr.into()).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    peer.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    peer.read_to_string(&mut answer).unwrap();
    let status = answer.get(9..12).and_then(|status| status.parse().ok());
    (
        status.unwrap_or_else(|| panic!("no answer: {answer:?}")),
        answer,
    )
}

/// Holds connections for long enough, whoever does not say goodbye.
const LASTING: [&str; 4] = ["--drain", "600s", "--close-timeout", "600s"];

#[test]
fn it_is_ready_until_it_is_full_or_drains_and_healthy_as_long_as_it_runs() {
    let args = [&LASTING[..], &["--max-connections", "2"]].concat();
    let server = Server::start(&[Wire::WebSocket], &args);
    let addr = server.addr(Wire::WebSocket);
    let statuses = || {
        let checks = [
            "GET /healthz",
            "HEAD /healthz",
            "GET /readyz",
            "HEAD /readyz",
        ];
        checks.map(|check| ask(addr, check).0)
    };
    assert_eq!(statuses(), [200; 4]);
    assert_eq!(ask(addr, "GET /").0, 426);
    let peers = [(); 2].map(|()| RawPeer::connect(Wire::WebSocket, server.port(Wire::WebSocket)));
    assert_eq!(statuses(), [200, 200, 503, 503]);
    let (status, answer) = ask(addr, "GET /");
    assert!(
        status == 503 && answer.contains("too many connections"),
        "{answer}"
    );
    drop(peers);
    server.wait_closed();
    let deadline = Instant::now() + PATIENCE;
    while ask(addr, "GET /readyz").0 != 200 {
        assert!(Instant::now() < deadline, "it is not ready again");
    }
    let peer = RawPeer::connect(Wire::WebSocket, server.port(Wire::WebSocket));
    server.wait_open(peer.local_port());
    server.process().signal(Signal::TERM);
    event(&server, "draining");
    assert_eq!(statuses(), [200, 200, 503, 503]);
    let (status, answer) = ask(addr, "GET /readyz");
    assert!(
        status == 503 && answer.ends_with("going away\n"),
        "{answer}"
    );
    // Of all that, only what was no check is worth an event.
    let answered = |name: &str| {
        let lines = server.process().lines();
        let told = lines.iter().filter_map(|line| line.event(name));
        told.map(|event| event["status"].clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(answered("answered"), [426, 503]);
}

#[test]
fn checks_are_answered_unless_that_is_switched_off() {
    let server = Server::start(&[Wire::WebSocket], &["--no-health"]);
    let addr = server.addr(Wire::WebSocket);
    for check in ["GET /healthz", "GET /readyz"] {
        assert_eq!(ask(addr, check).0, 426);
    }
    assert_eq!(event(&server, "answered")["status"], 426);
}

/// Starts a proxy that gets so many free ports, in case somebody else takes one meanwhile once more.
fn start_proxy<const N: usize>(
    program: &str,
    configure: impl Fn(&Path, [u16; N]) -> (String, Vec<String>),
) -> (Process, [u16; N]) {
    for _ in 0..5 {
        let free = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = free.map(|free| free.local_addr().unwrap().port());
        let place = Place::new();
        let (config, args) = configure(place.path(), ports);
        fs::write(place.path().join("config"), config).unwrap();
        let mut command = Command::new(program);
        command.args(args).current_dir(place.path());
        let install = "apt install haproxy nginx-light";
        let mut proxy = Process::spawn(&mut command, install).keeping(place);
        let deadline = Instant::now() + PATIENCE;
        while proxy.is_running() && Instant::now() < deadline {
            if ports
                .iter()
                .all(|&port| TcpStream::connect(("127.0.0.1", port)).is_ok())
            {
                return (proxy, ports);
            }
            thread::yield_now();
        }
        eprintln!("{}", proxy.transcript());
    }
    panic!("{program} does not listen");
}

/// Returns what HAProxy says of a server: its status, and the code of its last check.
fn seen_by_haproxy(socket: &Path, backend: &str) -> (String, String) {
    let mut control = UnixStream::connect(socket).unwrap();
    control.write_all(b"show stat\n").unwrap();
    let mut table = String::new();
    control.read_to_string(&mut table).unwrap();
    let mut rows = table.lines().map(|row| row.split(',').collect::<Vec<_>>());
    let names = rows.next().unwrap();
    let row = rows
        .find(|row| row[..2] == [backend, "heartwheel"])
        .unwrap();
    let of = |name: &str| {
        let column = names.iter().position(|other| *other == name).unwrap();
        row[column].to_owned()
    };
    (of("status"), of("check_code"))
}

#[test]
#[ignore = "needs HAProxy and nginx: apt install haproxy nginx-light"]
fn haproxy_passes_clients_on_and_sees_it_ready_and_drained() {
    let wires = [Wire::WebSocket, Wire::Line];
    let flags = ["--proxy-protocol", "--trust-proxy", "127.0.0.0/8"];
    let server = Server::start(&wires, &[&LASTING[..], &flags].concat());
    let [ws, tcp] = wires.map(|wire| server.addr(wire));
    let control = Place::new();
    let socket = control.path().join("control");
    let (_haproxy, ports) = start_proxy("haproxy", |_, [v1, v2, lines]: [u16; 3]| {
        let config = format!(
            "global\n stats socket {} level admin\n\
             defaults\n mode tcp\n timeout connect 30s\n timeout client 600s\n timeout server 600s\n \
             timeout check 30s\n\
             listen v1\n bind 127.0.0.1:{v1}\n server heartwheel {ws} send-proxy\n\
             listen v2\n bind 127.0.0.1:{v2}\n option httpchk GET /readyz\n \
             server heartwheel {ws} send-proxy-v2 check check-send-proxy inter 50ms fall 1 rise 1\n\
             listen lines\n bind 127.0.0.1:{lines}\n server heartwheel {tcp} send-proxy-v2\n",
            socket.display()
        );
        (config, ["-db", "-f", "config"].map(str::to_owned).into())
    });
    let mut peers = Vec::new();
    for (port, wire) in ports
        .into_iter()
        .zip([Wire::WebSocket, Wire::WebSocket, Wire::Line])
    {
        let peer = RawPeer::connect(wire, port);
        let own = format!("127.0.0.1:{}", peer.local_port());
        let open = server.process().wait_for("open", |line| {
            line.event("open")
                .filter(|open| open["peer"] == own)
                .cloned()
        });
        let (_, proxy) = who(&open);
        let proxy: SocketAddr = proxy.expect("it came through a proxy").parse().unwrap();
        assert_ne!(proxy.port(), peer.local_port());
        peers.push(peer);
    }
    let wait_for = |status: &str, code: &str| {
        let deadline = Instant::now() + PATIENCE;
        let expected = (status.to_owned(), code.to_owned());
        while seen_by_haproxy(&socket, "v2") != expected {
            let seen = seen_by_haproxy(&socket, "v2");
            assert!(Instant::now() < deadline, "{seen:?}, not {expected:?}");
            thread::sleep(Duration::from_millis(10));
        }
    };
    wait_for("UP", "200");
    server.process().signal(Signal::TERM);
    wait_for("DOWN", "503");
    // Its checks are no news.
    let lines = server.process().lines();
    assert!(lines.iter().all(|line| line.event("answered").is_none()));
}

/// Shakes hands from this address; returns the status.
fn upgrade_from(from: [u8; 4], port: u16, path: &str, fields: &str) -> (u16, TcpStream) {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    let to = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    socket.connect(&to.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&upgrade_request(path, fields)).unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    let status = std::str::from_utf8(&head[9..]).unwrap().parse().unwrap();
    (status, stream)
}

#[test]
#[ignore = "needs HAProxy and nginx: apt install haproxy nginx-light"]
fn nginx_names_clients_and_goes_elsewhere_while_it_drains() {
    let flags = [&LASTING[..], &["--trust-proxy", "127.0.0.1"]].concat();
    let [server, other] = [(); 2].map(|()| Server::start(&[Wire::WebSocket], &flags));
    let [first, second] = [&server, &other].map(|server| server.addr(Wire::WebSocket));
    let (_nginx, [port]) = start_proxy("nginx", |place, [port]: [u16; 1]| {
        let place = place.display();
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {place}/{kind};\n"))
            .concat();
        let pass = "proxy_pass http://heartwheel; proxy_http_version 1.1;\n\
                    proxy_set_header Upgrade $http_upgrade;\n\
                    proxy_set_header Connection upgrade;\n\
                    proxy_next_upstream error timeout http_503;\n";
        let config = format!(
            "daemon off; master_process off; pid {place}/pid; error_log stderr;\n\
             events {{}}\n\
             http {{ access_log off;\n{temporary}\
             upstream heartwheel {{ server {first}; server {second} backup; }}\n\
             server {{ listen 127.0.0.1:{port};\n\
             location / {{ {pass} proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }}\n\
             location /forwarded {{ {pass} proxy_set_header X-Forwarded-For \"\";\n\
             proxy_set_header Forwarded 'for=\"$remote_addr:$remote_port\"'; }}\n\
             location = /readyz {{ proxy_pass http://{first}; }}\n}} }}\n"
        );
        let args = ["-e", "stderr", "-c"].map(str::to_owned);
        (config, [&args[..], &[format!("{place}/config")]].concat())
    });
    let spoofed = "X-Forwarded-For: 6.6.6.6\r\n";
    let (status, x_forwarded_for) = upgrade_from([127, 0, 0, 2], port, "/", spoofed);
    assert_eq!(status, 101);
    let (status, forwarded) = upgrade_from([127, 0, 0, 3], port, "/forwarded", spoofed);
    assert_eq!(status, 101);
    let own = forwarded.local_addr().unwrap().to_string();
    for client in ["127.0.0.2:0", &own] {
        let open = server.process().wait_for("open", |line| {
            line.event("open")
                .filter(|open| open["peer"] == client)
                .cloned()
        });
        assert!(who(&open).1.is_some(), "{open}");
    }
    // A client that sends the field that this proxy does not write is refused, whatever it says.
    let contradiction = "Forwarded: for=6.6.6.6\r\n";
    let (status, _) = upgrade_from([127, 0, 0, 2], port, "/", contradiction);
    assert_eq!(status, 400);
    assert_eq!(event(&server, "rejected")["cause"], "protocol_error");
    assert_eq!(ask(([127, 0, 0, 1], port), "GET /readyz").0, 200);
    server.process().signal(Signal::TERM);
    event(&server, "draining");
    assert_eq!(ask(([127, 0, 0, 1], port), "GET /readyz").0, 503);
    let (status, _moved) = upgrade_from([127, 0, 0, 4], port, "/", "");
    assert_eq!(status, 101);
    assert_eq!(event(&other, "open")["peer"], "127.0.0.4:0");
    drop((x_forwarded_for, forwarded));
}

/// Has a client of TLS talk through a proxy that passes on what it does not understand.
fn talks_through(server: &Process, files: &Files, port: u16) {
    let mark = server.mark();
    let client = files.client(WireKind::Line).config().unwrap();
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let mut peer = Peer::connect(addr, &client, "a.example").unwrap();
    peer.echoes("hello");
    let open = wait_event(server, mark, "open");
    let own = format!("127.0.0.1:{}", peer.local_port());
    let (client, proxy) = who(&open);
    assert_eq!(client, own);
    assert!(proxy.is_some_and(|proxy| proxy != own), "{open}");
}

/// Starts a server of lines over TLS behind a proxy that is trusted.
fn secure_server() -> (Files, Process, SocketAddr) {
    let files = Files::new();
    files.issue("a", &["a.example"]);
    let flags = ["--proxy-protocol", "--trust-proxy", "127.0.0.0/8"].map(str::to_owned);
    let server = serve(&["--tls-tcp"], &[&files.flags("a"), &flags]);
    let addr = secure::addr(&server, "tcps");
    (files, server, addr)
}

#[test]
#[ignore = "needs HAProxy and nginx: apt install haproxy nginx-light libnginx-mod-stream"]
fn haproxy_passes_tls_through_by_the_name_that_is_asked_for() {
    let (files, server, addr) = secure_server();
    let (_haproxy, [port]) = start_proxy("haproxy", |_, [port]: [u16; 1]| {
        let config = format!(
            "defaults\n mode tcp\n timeout connect 30s\n timeout client 600s\n timeout server 600s\n\
             frontend tls\n bind 127.0.0.1:{port}\n tcp-request inspect-delay 30s\n \
             tcp-request content accept if {{ req_ssl_hello_type 1 }}\n \
             use_backend heartwheel if {{ req_ssl_sni -i a.example }}\n\
             backend heartwheel\n server heartwheel {addr} send-proxy-v2\n"
        );
        (config, ["-db", "-f", "config"].map(str::to_owned).into())
    });
    talks_through(&server, &files, port);
}

#[test]
#[ignore = "needs HAProxy and nginx: apt install haproxy nginx-light libnginx-mod-stream"]
fn nginx_passes_tls_through_by_the_name_that_is_asked_for() {
    let (files, server, addr) = secure_server();
    let (_nginx, [port]) = start_proxy("nginx", |place, [port]: [u16; 1]| {
        let place = place.display();
        // Where a build has it as a module, the distribution's package says so.
        let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
        let load = match Path::new(module).exists() {
            true => format!("load_module {module};\n"),
            false => String::new(),
        };
        let config = format!(
            "{load}daemon off; master_process off; pid {place}/pid; error_log stderr;\n\
             events {{}}\n\
             stream {{\n\
             map $ssl_preread_server_name $backend {{ a.example {addr}; default 127.0.0.1:9; }}\n\
             server {{ listen 127.0.0.1:{port}; ssl_preread on; proxy_protocol on; proxy_pass $backend; }}\n\
             }}\n"
        );
        let args = ["-e", "stderr", "-c"].map(str::to_owned);
        (config, [&args[..], &[format!("{place}/config")]].concat())
    });
    talks_through(&server, &files, port);
}
