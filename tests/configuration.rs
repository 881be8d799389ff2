//! Where the program's settings come from, how they are looked over, and how they are read again while it runs.
#![cfg(all(unix, feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::Value;
use support::bytes::upgrade_request;
use support::place::Place;
use support::process::Process;
use support::program::heartwheel;
use support::raw::{Arrival, RawPeer};
use support::{PATIENCE, Wire};

/// Something is unwise, and that was asked for.
const FAILED: i32 = 1;
/// A fault in what was configured.
const USAGE: i32 = 2;

/// A configuration file.
struct File(Place);

impl File {
    fn new(text: &str) -> Self {
        let file = Self(Place::new());
        file.write(text);
        file
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
    }

    fn path(&self) -> String {
        let path = self.0.path().join("a.toml");
        path.to_str().unwrap().to_owned()
    }

    /// Starts a server with it.
    fn serve(&self, flags: &[&str]) -> Process {
        self.serve_with(&[], flags)
    }

    fn serve_with(&self, variables: &[(&str, &str)], flags: &[&str]) -> Process {
        let mut command = heartwheel(&["serve", "--json", "--config", &self.path()]);
        command.args(flags).envs(variables.iter().copied());
        Process::spawn(&mut command, "`cargo test` builds it")
    }
}

/// Waits for a listener of this wire, and returns what is said of it.
fn listening(server: &Process, wire: &str) -> Value {
    server.wait_for(&format!("listening on {wire}"), |line| {
        let event = line.event("listening")?;
        (event["wire"] == wire).then(|| event.clone())
    })
}

fn port(server: &Process, wire: &str) -> u16 {
    let event = listening(server, wire);
    let addr = event["addr"].as_str().unwrap();
    addr.rsplit_once(':').unwrap().1.parse().unwrap()
}

/// Sends SIGHUP, and returns all events up to the one that says what came of it.
fn reload(server: &Process) -> Vec<Value> {
    let mark = server.mark();
    server.signal(Signal::HUP);
    let is_over = |line: &support::process::Line| {
        line.event("reloaded")
            .or_else(|| line.event("reload_failed"))?;
        Some(())
    };
    server.wait_past(mark, "what came of the reload", is_over);
    let events = server.lines().into_iter().skip(mark);
    let is_ours = |event: &Value| {
        let name = event["event"].as_str();
        name.is_some_and(|name| name.starts_with("reload") || name == "changed")
    };
    events
        .filter_map(|line| line.json)
        .filter(is_ours)
        .collect()
}

/// Runs a command to its end.
fn run(command: &mut Command) -> (Output, String, String) {
    let output = command.output().unwrap();
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    (output, stdout, stderr)
}

// Reading.

#[test]
fn a_file_says_what_each_listener_does() {
    let file = File::new(
        "interval = \"20s\"\n\
         [[listener]]\nws = \"127.0.0.1:0\"\npath = \"/live\"\nsubprotocol = [\"mqtt\"]\n\
         [[listener]]\ntcp = \"127.0.0.1:0\"\ninterval = \"7s\"\nmode = \"sink\"\n",
    );
    let server = file.serve(&[]);
    let (ws, tcp) = (listening(&server, "ws"), listening(&server, "tcp"));
    assert_eq!(
        (&ws["interval_us"], &ws["timeout_us"]),
        (&20_000_000.into(), &50_000_000.into())
    );
    assert_eq!(tcp["interval_us"], 7_000_000);
    for (path, status) in [
        ("/live", "101"),
        ("/live?token=1", "101"),
        ("/", "404"),
        ("/live/", "404"),
    ] {
        let mut peer = TcpStream::connect(("127.0.0.1", port(&server, "ws"))).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        peer.write_all(&upgrade_request(path, "Sec-WebSocket-Protocol: mqtt\r\n"))
            .unwrap();
        let mut head = [0; 12];
        peer.read_exact(&mut head).unwrap();
        assert_eq!(head[9..], *status.as_bytes(), "{path}");
    }
    // A sink answers nothing, and is pinged by nobody for a while; so the first answer is to our ping.
    let mut peer = RawPeer::connect(Wire::Line, port(&server, "tcp"));
    peer.send_text("hello");
    peer.send_ping(b"");
    assert_eq!(peer.next(), Arrival::Pong);
}

#[test]
fn flags_count_more_than_variables_and_those_more_than_the_file() {
    let file =
        File::new("interval = \"20s\"\n[[listener]]\ntcp = \"127.0.0.1:0\"\ninterval = \"10s\"\n");
    for (variables, flags, interval) in [
        (&[][..], &[][..], 10_000_000),
        (&[("HEARTWHEEL_INTERVAL", "9s")], &[], 9_000_000),
        (
            &[("HEARTWHEEL_INTERVAL", "9s")],
            &["--interval", "8s"],
            8_000_000,
        ),
    ] {
        let server = file.serve_with(variables, flags);
        assert_eq!(listening(&server, "tcp")["interval_us"], interval);
    }
    // The listeners that a flag names are all that there are.
    let server = file.serve(&["--tcp-binary", "127.0.0.1:0"]);
    assert_eq!(listening(&server, "tcp+binary")["interval_us"], 20_000_000);
    server.wait_logged("that others are left out", |line| {
        line.text.contains("[[listener]]").then_some(())
    });
    assert!(server.find(|line| Some(line.event("listening")?["wire"] == "tcp")) != Some(true));
    // The file may be named by a variable, too.
    let mut command = heartwheel(&["serve", "--json"]);
    command.env("HEARTWHEEL_CONFIG", file.path());
    let server = Process::spawn(&mut command, "`cargo test` builds it");
    assert_eq!(listening(&server, "tcp")["interval_us"], 10_000_000);
}

#[test]
fn all_that_is_wrong_with_a_file_is_told_with_its_line() {
    let file = File::new(
        "intervall = \"20s\"\nmax_message = \"big\"\n[[listener]]\nws = \"127.0.0.1:0\"\nshards = 2\n",
    );
    for command in ["serve", "config", "check"] {
        let mut command = match command {
            "serve" => heartwheel(&["serve", "--config", &file.path()]),
            command => heartwheel(&[command, &file.path()]),
        };
        let (output, stdout, stderr) = run(&mut command);
        assert_eq!(output.status.code(), Some(USAGE), "{stderr}");
        assert_eq!(stdout, "");
        for part in [
            "a.toml:1: there is no key intervall; did you mean interval?",
            "a.toml:5: shards",
        ] {
            assert!(stderr.contains(part), "no {part:?}: {stderr}");
        }
    }
    file.write("max_message = \"big\"\n");
    let (_, _, stderr) = run(&mut heartwheel(&["check", &file.path()]));
    assert!(
        stderr.contains("a.toml:1: invalid value 'big' for max_message: "),
        "{stderr}"
    );
    let (output, _, stderr) = run(&mut heartwheel(&["check", "/no/such.toml"]));
    assert_eq!(output.status.code(), Some(USAGE));
    assert!(stderr.contains("cannot read /no/such.toml"), "{stderr}");
}

// Reading again.

#[test]
fn f36_a_reload_reaches_those_who_are_connected_and_drops_nobody() {
    let before = "interval = \"10m\"\nmax_message = 100\n\
                  [[listener]]\ntcp = \"127.0.0.1:0\"\n\
                  [[listener]]\ntcp_binary = \"127.0.0.1:0\"\n\
                  [[listener]]\ntcp_raw = \"127.0.0.1:0\"\n";
    let after = "interval = \"50ms\"\nmax_message = 10\ntimeout = \"10m\"\n\
                 [[listener]]\ntcp = \"127.0.0.1:0\"\nmax_message = 1_000\n\
                 [[listener]]\ntcp_raw = \"127.0.0.1:0\"\n\
                 [[listener]]\nws = \"127.0.0.1:0\"\n";
    for shards in ["1", "2"] {
        let file = File::new(before);
        let server = file.serve(&["--shards", shards]);
        let (tcp, binary) = (port(&server, "tcp"), port(&server, "tcp+binary"));
        let raw = port(&server, "tcp+raw");
        let mut lines = [(); 4].map(|()| RawPeer::connect(Wire::Line, tcp));
        let mut others = [(); 4].map(|()| RawPeer::connect(Wire::Binary, binary));
        for peer in lines.iter_mut().chain(&mut others) {
            peer.send_text("here");
            assert_eq!(peer.next(), Arrival::Message(b"here".to_vec()));
        }
        file.write(after);
        let events = reload(&server);
        let sum = events.last().unwrap();
        assert_eq!(sum["event"], "reloaded", "{events:?}");
        assert_eq!(
            (&sum["listeners_opened"], &sum["listeners_closed"]),
            (&1.into(), &1.into())
        );
        assert_eq!(sum["listeners_changed"], 2);
        let is_told = |listener: String, key: &str, from: &str, to: &str| {
            events.iter().any(|event| {
                event["event"] == "changed"
                    && event["listener"].as_str() == Some(&listener)
                    && (event["key"] == key && event["from"] == from && event["to"] == to)
            })
        };
        assert!(
            is_told("tcp 127.0.0.1:0".into(), "interval", "10m", "50ms"),
            "{events:?}"
        );
        assert!(
            is_told("tcp+raw 127.0.0.1:0".into(), "max_message", "100", "10"),
            "{events:?}"
        );
        // Who was there is pinged now, and may send more.
        for peer in &mut lines {
            assert!(matches!(peer.next(), Arrival::Ping(_)));
            peer.send_text(&"x".repeat(500));
            assert_eq!(peer.next_answering(), Arrival::Message(vec![b'x'; 500]));
        }
        // The listener is gone, and its connections are as they were.
        for peer in &mut others {
            peer.send_text(&"y".repeat(90));
            assert_eq!(peer.next(), Arrival::Message(vec![b'y'; 90]));
        }
        assert!(TcpStream::connect(("127.0.0.1", binary)).is_err());
        // Each loop has the new one.
        let ws = port(&server, "ws");
        let news = [(); 8].map(|()| {
            let mut peer = RawPeer::connect(Wire::WebSocket, ws);
            peer.send_text("new");
            assert_eq!(peer.next_answering(), Arrival::Message(b"new".to_vec()));
            peer
        });
        let guest = TcpStream::connect(("127.0.0.1", raw)).unwrap();
        assert!(server.find(|line| line.event("closed").map(drop)).is_none());
        drop((news, guest));
        // And the same file changes nothing.
        let events = reload(&server);
        assert_eq!(events.len(), 1, "{events:?}");
    }
}

#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let good = "[[listener]]\ntcp = \"127.0.0.1:0\"\n";
    let file = File::new(good);
    let server = file.serve(&[]);
    let mut peer = RawPeer::connect(Wire::Line, port(&server, "tcp"));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let in_use = format!(
        "interval = \"1s\"\n{good}[[listener]]\nws = \"{}\"\n",
        taken.local_addr().unwrap()
    );
    for (bad, part) in [
        (
            "interval = \"soon\"\n",
            "a.toml:1: invalid value 'soon' for interval",
        ),
        ("interval = \n", "a.toml:1: "),
        (
            "interval = \"1s\"\n[[listener]]\ntcp = \"127.0.0.1:0\"\ntcp_user_timeout = \"5s\"\n",
            "tcp_user_timeout",
        ),
        (&in_use, "the port is in use"),
        (
            "[[listener]]\nwss = \"127.0.0.1:0\"\n",
            "--cert FILE --key FILE",
        ),
    ] {
        file.write(bad);
        let events = reload(&server);
        let [failed] = &events[..] else {
            panic!("{bad}: {events:?}");
        };
        assert_eq!(failed["event"], "reload_failed");
        let reason = failed["reason"].as_str().unwrap();
        assert!(reason.contains(part), "no {part:?}: {reason}");
        peer.send_text("still here");
        assert_eq!(peer.next(), Arrival::Message(b"still here".to_vec()));
    }
    fs::remove_file(file.path()).unwrap();
    assert_eq!(reload(&server)[0]["event"], "reload_failed");
    file.write(good);
    assert_eq!(reload(&server)[0]["event"], "reloaded");
}

#[test]
fn what_waits_for_a_restart_is_told_at_each_reload() {
    let file = File::new("tick = \"10ms\"\n[[listener]]\ntcp = \"127.0.0.1:0\"\n");
    let server = file.serve(&[]);
    listening(&server, "tcp");
    file.write("tick = \"20ms\"\ndrain = \"1s\"\n[[listener]]\ntcp = \"127.0.0.1:0\"\n");
    for drain_changes in [true, false] {
        let events = reload(&server);
        let of = |key: &str| events.iter().find(|event| event["key"] == key);
        assert_eq!(of("tick").unwrap()["takes_effect"], "at_restart");
        assert_eq!(of("drain").is_some(), drain_changes);
        assert!(of("drain").is_none_or(|drain| drain["takes_effect"].is_null()));
    }
}

// Looking.

#[test]
fn what_config_prints_is_a_file_that_means_the_same() {
    let file = File::new(
        "max_connections = 5_000\nmemory_limit = \"64MiB\"\n\
         [[listener]]\nws = \"[::1]:9001\"\ntimeout = \"5s\"\ndeflate = true\ntrust_proxy = [\"10.0.0.0/8\", \"::1\"]\n\
         [[listener]]\ntcp_raw = \"unix:/tmp/a \\\" b.sock\"\ntcp_keepalive = \"30s,5s,3\"\n",
    );
    let values = |file: &File| {
        let (output, stdout, stderr) = run(&mut heartwheel(&["config", &file.path()]));
        assert!(output.status.success(), "{stderr}");
        stdout
    };
    let without_origins = |text: &str| {
        let lines = text
            .lines()
            .map(|line| line.split(" #").next().unwrap().trim_end().to_owned());
        lines.collect::<Vec<_>>()
    };
    let printed = values(&file);
    let origin = |key: &str| {
        let line = printed.lines().find(|line| line.starts_with(key)).unwrap();
        line.rsplit_once("# ").unwrap().1.to_owned()
    };
    assert!(origin("max_connections").ends_with("a.toml:1"));
    assert_eq!(origin("interval"), "follows from timeout");
    assert_eq!(origin("drain"), "default");
    let again = File::new(&printed);
    assert_eq!(without_origins(&values(&again)), without_origins(&printed));

    let json = run(&mut heartwheel(&[
        "config",
        "--json",
        &file.path(),
        "--",
        "--drain",
        "2s",
    ]))
    .1;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        json["whole"]["drain"],
        serde_json::json!({ "value": "2s", "origin": "--drain" })
    );
    assert_eq!(json["listeners"][0]["interval"]["value"], "2s");
    assert_eq!(
        json["listeners"][1]["tcp_raw"]["value"],
        "unix:/tmp/a \" b.sock"
    );
}

#[test]
fn the_example_is_what_the_program_prints_and_its_values_are_the_defaults() {
    let (_, example, _) = run(&mut heartwheel(&["config", "--example"]));
    let kept = concat!(env!("CARGO_MANIFEST_DIR"), "/contrib/heartwheel.toml");
    if std::env::var_os("RENEW").is_some() {
        fs::write(kept, &example).unwrap();
    }
    let kept = fs::read_to_string(kept).unwrap();
    assert!(
        kept == example,
        "contrib/heartwheel.toml is not what the program prints; run this test with RENEW=1"
    );
    let values = |text: &str| {
        let file = File::new(text);
        let (output, stdout, stderr) = run(&mut heartwheel(&["config", "--json", &file.path()]));
        assert!(output.status.success(), "{stderr}");
        let json: Value = serde_json::from_str(&stdout).unwrap();
        let mut listener = json["listeners"][0].as_object().unwrap().clone();
        listener.extend(json["whole"].as_object().unwrap().clone());
        listener
            .into_iter()
            .map(|(key, it)| (key, it["value"].clone(), it["origin"].clone()))
            .collect::<Vec<_>>()
    };
    let is_key = |line: &str| {
        line.strip_prefix('#')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
    };
    let in_force: Vec<_> = example
        .lines()
        .map(|line| if is_key(line) { &line[1..] } else { line })
        .collect();
    let (defaults, all) = (values(&example), values(&in_force.join("\n")));
    assert_eq!(defaults.len(), all.len());
    let mut given = 0;
    for (default, same) in defaults.iter().zip(&all) {
        if default.0 != "memory_limit" {
            assert_eq!((&default.0, &default.1), (&same.0, &same.1));
        }
        given += usize::from(same.2 != "default");
    }
    assert!(given >= 50, "{given} of {}", all.len());
}

#[test]
fn a_check_says_what_is_unwise_and_fails_only_if_that_is_asked_for() {
    let file = File::new(
        "max_connections = 500\n[[listener]]\ntcp = \"127.0.0.1:0\"\ninterval = \"30s\"\ntimeout = \"45s\"\n",
    );
    let (output, stdout, _) = run(&mut heartwheel(&["check", &file.path()]));
    assert_eq!(output.status.code(), Some(0));
    for part in [
        "after at most 45.06s",
        "500 idle connections: 17 pings/s",
        "less than twice the interval",
        "timeout = \"1m15s\"",
        "1 thing is unwise",
    ] {
        assert!(stdout.contains(part), "no {part:?}: {stdout}");
    }
    let strict = |file: &File| {
        run(&mut heartwheel(&["check", "--strict", &file.path()]))
            .0
            .status
            .code()
    };
    assert_eq!(strict(&file), Some(FAILED));
    file.write("max_connections = 500\n[[listener]]\ntcp = \"127.0.0.1:0\"\n");
    assert_eq!(strict(&file), Some(0));

    let mut json = heartwheel(&["check", "--json", &file.path(), "--connections", "200"]);
    let (_, stdout, _) = run(json.args(["--", "--timeout", "off"]));
    let json: Value = serde_json::from_str(&stdout).unwrap();
    let listener = &json["listeners"][0];
    assert!(listener["detection_us"].is_null());
    assert_eq!(listener["findings"][0]["key"], "timeout");
    assert_eq!(listener["memory"], 145 * 200);
}

#[test]
fn a_check_looks_at_certificates() {
    let files = support::secure::Files::new();
    files.put("soon", &files.root.issue(&["a.example"], -80, 9));
    let [cert, key] = [files.path("soon.pem"), files.path("soon.key")];
    let file = File::new(&format!(
        "max_connections = 100\n[[listener]]\nwss = \"127.0.0.1:0\"\ncert = '{cert}'\nkey = '{key}'\n"
    ));
    let (_, stdout, stderr) = run(&mut heartwheel(&["check", &file.path()]));
    for part in ["wss 127.0.0.1:0", "expires in ", "renew it"] {
        assert!(stdout.contains(part), "no {part:?}: {stdout}{stderr}");
    }
    fs::write(files.path("soon.key"), "").unwrap();
    let (output, _, stderr) = run(&mut heartwheel(&["check", &file.path()]));
    assert_eq!(output.status.code(), Some(USAGE));
    assert!(stderr.contains("soon.key"), "{stderr}");
}
