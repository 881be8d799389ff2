//! The listener for operators: what it tells, what it does, and whom it believes.
#![cfg(all(unix, feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Instant;

use serde_json::Value;
use support::peers::openmetrics;
use support::place::Place;
use support::process::Process;
use support::program;
use support::raw::{Arrival, RawPeer};
use support::{PATIENCE, Wire};

/// A server with a listener for operators.
struct Server(Process);

impl Server {
    fn start(flags: &[&str]) -> Self {
        let usual = [
            "serve",
            "--json",
            "--tcp",
            "127.0.0.1:0",
            "--admin",
            "127.0.0.1:0",
        ];
        Self(program::start(&[&usual, flags].concat()))
    }

    fn port(&self, wire: &str) -> u16 {
        let addr = self.0.wait_for(&format!("listening on {wire}"), |line| {
            let event = line.event("listening")?;
            (event["wire"] == wire).then(|| event["addr"].as_str().unwrap().to_owned())
        });
        addr.rsplit_once(':').unwrap().1.parse().unwrap()
    }

    /// Asks, and returns the status and the body.
    fn ask(&self, method: &str, target: &str) -> (u16, String) {
        self.ask_with(method, target, "")
    }

    fn ask_with(&self, method: &str, target: &str, head: &str) -> (u16, String) {
        let port = self.port("admin");
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let host = format!("Host: 127.0.0.1:{port}\r\n");
        let host = if head.contains("Host:") { "" } else { &host };
        ask_over(stream, method, target, &format!("{host}{head}"))
    }

    fn get(&self, target: &str) -> Value {
        let (status, body) = self.ask("GET", target);
        assert_eq!(status, 200, "{target}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Connects so many, and waits until they are open.
    fn connect(&self, count: usize) -> Vec<RawPeer> {
        let port = self.port("tcp");
        let peers = (0..count).map(|_| {
            let mut peer = RawPeer::connect(Wire::Line, port);
            peer.send_text("here");
            assert_eq!(peer.next_answering(), Arrival::Message(b"here".to_vec()));
            peer
        });
        peers.collect()
    }

    fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.ask("GET", "/metrics");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}:\n{text}"))
            .parse()
            .unwrap()
    }
}

fn ask_over(
    mut stream: impl Read + Write,
    method: &str,
    target: &str,
    head: &str,
) -> (u16, String) {
    write!(
        stream,
        "{method} {target} HTTP/1.1\r\n{head}Connection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[test]
fn connections_are_listed_by_pages_that_do_not_overlap() {
    for shards in ["1", "3"] {
        let server = Server::start(&["--shards", shards, "--interval", "off", "--timeout", "off"]);
        let peers = server.connect(130);
        let ports: BTreeSet<_> = peers.iter().map(RawPeer::local_port).collect();
        for sort in ["age", "idle", "rtt", "queued", "memory"] {
            let mut seen = BTreeSet::new();
            let mut ages = Vec::new();
            for offset in [0, 50, 100] {
                let target = format!("/api/conns?sort={sort}&order=asc&limit=50&offset={offset}");
                let page = server.get(&target);
                assert_eq!(page["count"], 130);
                for one in page["connections"].as_array().unwrap() {
                    let peer = one["peer"].as_str().unwrap();
                    seen.insert(peer.rsplit_once(':').unwrap().1.parse::<u16>().unwrap());
                    ages.push(one["age_us"].as_u64().unwrap());
                    assert_eq!(one["listener"], "tcp 127.0.0.1:0");
                    assert_eq!(one["state"], "open");
                }
            }
            assert_eq!(seen, ports, "{sort}");
            if sort == "age" && shards == "1" {
                // The pages were made at different times.
                assert!(
                    ages[..50].is_sorted() && ages[50..100].is_sorted(),
                    "{ages:?}"
                );
            }
        }
        let count = |filter: &str| server.get(&format!("/api/conns?{filter}"))["count"].clone();
        let one = peers[7].local_port();
        assert_eq!(count(&format!("peer=127.0.0.1:{one}")), 1);
        assert_eq!(count("listener=ws"), 0);
        assert_eq!(count("listener=tcp%20127.0.0.1:0&state=open"), 130);
        assert_eq!(count("state=closing"), 0);
        assert_eq!(count("idle=1h"), 0);
    }
}

#[test]
fn one_connection_is_shown_kicked_and_remembered() {
    let server = Server::start(&["--shards", "2"]);
    let mut peers = server.connect(4);
    let port = peers[2].local_port();
    let list = server.get(&format!("/api/conns?peer=127.0.0.1:{port}"));
    let id = list["connections"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(
        server.get(&format!("/api/conns/{id}"))["peer"],
        format!("127.0.0.1:{port}")
    );
    let (status, _) = server.ask("POST", &format!("/api/kick?id={id}"));
    assert_eq!(status, 200);
    assert_eq!(peers[2].next_answering(), Arrival::Eof);
    drop(peers.remove(2));
    let deadline = Instant::now() + PATIENCE;
    let end = loop {
        let closed = server.get("/api/closed?limit=5");
        if let Some(end) = closed["closed"].get(0) {
            break end.clone();
        }
        assert!(Instant::now() < deadline, "{closed}");
    };
    assert_eq!(
        (&end["id"], &end["cause"]),
        (&id.as_str().into(), &"local_close".into())
    );
    assert_eq!(end["listener"], "tcp 127.0.0.1:0");
    assert!(end["age_us"].as_u64().unwrap() > 0);
    for target in [
        format!("/api/kick?id={id}"),
        "/api/kick?id=9.99".into(),
        "/api/kick?id=63:9.99".into(),
    ] {
        assert_eq!(server.ask("POST", &target).0, 404, "{target}");
    }
    assert_eq!(server.ask("GET", &format!("/api/conns/{id}")).0, 404);
    for peer in &mut peers {
        peer.send_text("untouched");
        assert_eq!(
            peer.next_answering(),
            Arrival::Message(b"untouched".to_vec())
        );
    }
}

#[test]
fn what_is_measured_adds_up_over_all_loops() {
    let server = Server::start(&["--shards", "2", "--interval", "50ms", "--timeout", "1h"]);
    let mut peers = server.connect(6);
    for peer in &mut peers {
        assert!(matches!(peer.next(), Arrival::Ping(_)));
        peer.send_pong(b"");
    }
    let deadline = Instant::now() + PATIENCE;
    while server.metric("heartwheel_pongs_matched_total") < 6.0 {
        assert!(Instant::now() < deadline, "no pongs");
    }
    assert!(server.metric("heartwheel_rtt_seconds_count") >= 6.0);
    assert!(server.metric("heartwheel_rtt_seconds_sum") > 0.0);
    assert!(server.metric("heartwheel_ping_lateness_seconds_count") >= 6.0);
    assert_eq!(server.metric("heartwheel_messages_in_total"), 6.0);
    assert_eq!(
        server.metric("heartwheel_connections{listener=\"tcp 127.0.0.1:0\"}"),
        6.0
    );
    assert!(server.metric("heartwheel_health_ratio{shard=\"1\"}") > 0.0);
    assert!(server.metric("heartwheel_received_bytes_total") >= 30.0);
    drop(peers);
    // With pings unread, an end is a reset.
    let ended =
        |cause: &str| server.metric(&format!("heartwheel_closed_total{{cause=\"{cause}\"}}"));
    while ended("peer_eof") + ended("peer_reset") < 6.0 {
        assert!(Instant::now() < deadline, "they stay");
    }
}

#[test]
fn alerts_and_the_dashboard_name_what_is_measured() {
    // A certificate is measured only where there is one.
    let files = support::secure::Files::new();
    files.issue("a", &["a.example"]);
    let tls = files.flags("a");
    let tls: Vec<_> = ["--wss", "127.0.0.1:0"]
        .into_iter()
        .chain(tls.iter().map(String::as_str))
        .collect();
    let server = Server::start(&tls);
    server.connect(1);
    let (_, text) = server.ask("GET", "/metrics");
    let measured: BTreeSet<_> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(['{', ' ']).next().unwrap())
        .collect();
    let mut named = 0;
    for file in ["alerts.yml", "grafana.json"] {
        let path = format!("{}/contrib/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = fs::read_to_string(path).unwrap();
        let is_other = |letter: char| !(letter.is_ascii_lowercase() || letter == '_');
        for name in text
            .split(is_other)
            .filter(|word| word.starts_with("heartwheel_"))
        {
            assert!(
                measured.contains(name),
                "{file} names {name}, which is not measured"
            );
            named += 1;
        }
    }
    assert!(named > 30, "{named} names");
}

#[test]
#[ignore = "needs Python 3: install python3 and python3-venv"]
fn a_strict_parser_of_openmetrics_reads_all_that_is_measured() {
    let server = Server::start(&["--shards", "2", "--ws", "127.0.0.1:0"]);
    let _peers = server.connect(3);
    let url = format!("http://127.0.0.1:{}/metrics", server.port("admin"));
    let mut parser = openmetrics(&url);
    let status = parser.wait_exit();
    assert!(status.success(), "{}", parser.transcript());
    let read: Value = serde_json::from_str(&parser.stdout()).unwrap();
    let kind = read["content_type"].as_str().unwrap();
    assert!(
        kind.starts_with("application/openmetrics-text; version=1.0.0"),
        "{kind}"
    );
    let family = |name: &str| {
        let family = &read["families"][name];
        let text = |key: &str| family[key].as_str().unwrap_or_default().to_owned();
        (text("type"), text("unit"), family["samples"].as_u64())
    };
    let of = |kind: &str, unit: &str, samples| (kind.to_owned(), unit.to_owned(), Some(samples));
    assert_eq!(family("heartwheel_connections"), of("gauge", "", 2));
    assert_eq!(
        family("heartwheel_received_bytes"),
        of("counter", "bytes", 1)
    );
    assert_eq!(
        family("heartwheel_rtt_seconds"),
        of("histogram", "seconds", 18)
    );
    assert_eq!(family("heartwheel_health_ratio"), of("gauge", "ratio", 2));
    let all = read["families"].as_object().unwrap();
    assert!(
        all.len() > 40 && all.keys().all(|name| name.starts_with("heartwheel_")),
        "{all:?}"
    );
}

#[test]
fn operators_are_heard_when_there_is_no_place_for_others() {
    let server = Server::start(&["--max-connections", "2", "--share-per-address", "off"]);
    let _peers = server.connect(2);
    let list = server.get("/api/conns");
    assert_eq!(list["count"], 2);
    assert_eq!(server.ask("GET", "/readyz").0, 503);
    let id = list["connections"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(server.ask("POST", &format!("/api/kick?id={id}")).0, 200);
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    let server = Server::start(&[]);
    for (method, target, status, part) in [
        ("GET", "/api/conns?sort=name", 400, "sort is age"),
        (
            "GET",
            "/api/conns?limit=5000",
            400,
            "limit is a number up to 1000",
        ),
        ("GET", "/api/conns?colour=red", 400, "there are sort, order"),
        (
            "GET",
            "/api/conns/abc",
            400,
            "is not the id of a connection",
        ),
        (
            "GET",
            "/api/conns/99:0.0",
            400,
            "is not the id of a connection",
        ),
        ("POST", "/api/kick", 400, "id is missing"),
        ("GET", "/api/kick?id=0.0", 405, "only POST"),
        ("POST", "/api/conns", 405, "only GET"),
        (
            "POST",
            "/api/drain?window=soon",
            400,
            "window is not a time",
        ),
        ("POST", "/api/log-level?level=loud", 400, "level is none of"),
        ("GET", "/elsewhere", 404, "nothing here"),
    ] {
        let (got, body) = server.ask(method, target);
        assert_eq!(got, status, "{target}: {body}");
        assert!(body.contains(part), "no {part:?}: {body}");
    }
    assert_eq!(server.ask("GET", "/healthz"), (200, "ok\n".into()));
    assert_eq!(server.ask("GET", "/readyz"), (200, "ready\n".into()));
    // It is no place for WebSocket clients.
    let (status, _) = server.ask_with(
        "GET",
        "/",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    );
    assert_eq!(status, 404);
}

#[test]
fn only_who_is_believed_may_look_and_act() {
    let place = Place::new();
    let token = |name: &str, text: &str| {
        let path = place.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (acts, looks) = (
        token("acts", "0123456789abcdef-acts\n"),
        token("looks", "0123456789abcdef-looks"),
    );
    let server = Server::start(&["--admin-token", &acts, "--admin-read-token", &looks]);
    let bearer = |token: &str| format!("Authorization: Bearer 0123456789abcdef-{token}\r\n");
    for (head, look, act) in [
        (String::new(), 401, 401),
        (bearer("others"), 401, 401),
        (bearer("looks"), 200, 403),
        (bearer("acts"), 200, 200),
        (bearer("acts") + "Origin: http://evil.example\r\n", 200, 403),
    ] {
        assert_eq!(
            server.ask_with("GET", "/api/conns", &head).0,
            look,
            "{head}"
        );
        let act_on = "/api/log-level?level=debug";
        assert_eq!(server.ask_with("POST", act_on, &head).0, act, "{head}");
    }
    assert_eq!(server.ask("GET", "/healthz").0, 200);
    // A name that leads here by somebody else's will is not ours.
    let head = bearer("acts") + "Host: evil.example\r\n";
    assert_eq!(server.ask_with("GET", "/metrics", &head).0, 421);

    let short = token("short", "secret");
    for (flags, part) in [
        (&["--admin", "0.0.0.0:0"][..], "--admin-token FILE"),
        (
            &["--admin", "127.0.0.1:0", "--admin-token", &short],
            "at least 16",
        ),
        (
            &["--admin", "127.0.0.1:0", "--admin-token", "/no/such"],
            "/no/such: cannot be read",
        ),
    ] {
        let mut process = program::start(&[&["serve", "--tcp", "127.0.0.1:0"], flags].concat());
        assert_eq!(
            process.wait_exit().code(),
            Some(2),
            "{}",
            process.transcript()
        );
        assert!(process.stderr().contains(part), "{}", process.transcript());
    }
}

#[test]
fn a_unix_socket_needs_no_token_and_a_file_can_be_read_again() {
    let place = Place::new();
    let (socket, file) = (place.path().join("admin.sock"), place.path().join("a.toml"));
    let configure = |interval: &str| {
        let socket = socket.display();
        let text = format!(
            "admin = \"unix:{socket}\"\n[[listener]]\ntcp = \"127.0.0.1:0\"\ninterval = \"{interval}\"\n"
        );
        fs::write(&file, text).unwrap();
    };
    configure("1h");
    let mut server = program::start(&["serve", "--json", "--config", file.to_str().unwrap()]);
    server.wait_for("listening", |line| {
        line.event("listening")
            .filter(|it| it["wire"] == "tcp")
            .map(drop)
    });
    let ask = |method: &str, target: &str| {
        let stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        ask_over(stream, method, target, "Host: localhost\r\n")
    };
    let interval = || {
        let policy: Value = serde_json::from_str(&ask("GET", "/api/policy").1).unwrap();
        policy["listeners"][0]["interval"].clone()
    };
    assert_eq!(interval()["value"], "1h");
    configure("2s");
    assert_eq!(ask("POST", "/api/reload").0, 200);
    assert_eq!(interval()["value"], "2s");
    assert!(interval()["origin"].as_str().unwrap().ends_with("a.toml:4"));
    configure("never");
    let (status, body) = ask("POST", "/api/reload");
    assert_eq!(status, 409);
    assert!(body.contains("invalid value 'never'"), "{body}");
    assert_eq!(interval()["value"], "2s");
    assert_eq!(ask("POST", "/api/drain?window=100ms").0, 200);
    assert_eq!(server.wait_exit().code(), Some(0));
}

#[test]
fn f43_who_asks_for_measures_and_reads_none_costs_others_nothing() {
    let server = Server::start(&["--interval", "50ms", "--timeout", "1h"]);
    let port = server.port("admin");
    let gone: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.set_nonblocking(true).unwrap();
            // Until neither side has room for more.
            let request =
                format!("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n").repeat(2_000);
            let sent = stream.write(request.as_bytes()).unwrap();
            assert!(sent > 0, "there is room at first");
            stream
        })
        .collect();
    let mut peers = server.connect(1);
    let pings = Instant::now();
    for _ in 0..10 {
        assert!(matches!(peers[0].next(), Arrival::Ping(_)));
    }
    assert!(pings.elapsed() < PATIENCE);
    assert!(server.metric("heartwheel_pings_written_total") >= 10.0);
    drop(gone);
}

// Commands for operators.

#[test]
fn commands_say_what_the_listener_answers() {
    let mut server = Server::start(&["--shards", "2"]);
    let mut peers = server.connect(3);
    let admin = format!("127.0.0.1:{}", server.port("admin"));
    let run = |args: &[&str]| {
        let output = program::heartwheel(args)
            .args(["--admin", &admin])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let complained = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), said, complained)
    };
    let (code, said, complained) = run(&["conns", "--sort", "age", "--limit", "2"]);
    assert_eq!(code, 0, "{complained}");
    let lines: Vec<_> = said.lines().collect();
    assert!(
        lines[0].starts_with("id ") && lines[0].ends_with("queued"),
        "{said}"
    );
    assert_eq!((lines.len(), lines[3]), (4, "2 of 3"), "{said}");
    let id = lines[1].split_whitespace().next().unwrap();
    let shown = run(&["conn", id]);
    assert!(
        shown.1.contains("listener         tcp 127.0.0.1:0\n"),
        "{shown:?}"
    );
    let (_, said, _) = run(&["conns", "--listener", "tcp 127.0.0.1:0", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["count"], 3);
    assert_eq!(run(&["kick", id]).0, 0);
    let mut ended = 0;
    for peer in &mut peers {
        peer.send_text("still here");
        ended += usize::from(peer.next_answering() == Arrival::Eof);
    }
    assert_eq!(ended, 1);
    drop(peers);
    let deadline = Instant::now() + PATIENCE;
    while !run(&["closed"]).1.contains("local_close") {
        assert!(Instant::now() < deadline, "it is not remembered");
    }
    let (code, _, complained) = run(&["kick", id]);
    assert_eq!(code, 1);
    assert!(complained.contains("may have ended"), "{complained}");
    assert_eq!(run(&["reload"]).0, 0);
    assert_eq!(run(&["drain", "--window", "100ms"]).0, 0);
    assert_eq!(server.0.wait_exit().code(), Some(0));
    // Nobody is there any more.
    let (code, _, complained) = run(&["conns"]);
    assert_eq!(code, 3);
    assert!(complained.contains("start it with --admin"), "{complained}");
}

#[test]
fn a_cause_is_explained() {
    let run = |args: &[&str]| program::heartwheel(args).output().unwrap();
    let said = String::from_utf8(run(&["explain", "path-dead"]).stdout).unwrap();
    for part in ["path_dead\n", "It means: ", "Look at: ", "Change: "] {
        assert!(said.contains(part), "no {part:?}: {said}");
    }
    let refused = run(&["explain", "path_ded"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(
        String::from_utf8(refused.stderr)
            .unwrap()
            .contains("did you mean path_dead?")
    );
}
