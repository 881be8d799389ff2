//! The Autobahn Testsuite, the standard public conformance suite for WebSocket, against the server and
//! the client: every case that is run passes, and strictly. Over TLS too, but for compression, which knows
//! nothing of that.
#![cfg(all(unix, feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use heartwheel::config::{DeflateConfig, HeartbeatConfig, LimitsConfig, ReactorConfig, WireKind};
use heartwheel::error::SendError;
use heartwheel::proto::message::Message;
use heartwheel::reactor::{
    ClientConfig, ClientEvent, ClientId, Closed, ConnId, Context, Handler, Reactor, WireFactory,
};
use serde_json::{Value, json};
use support::process::Process;
use support::program::Server;
use support::secure::{self, Files};
use support::{Wire, tools};

/// Our name in the reports.
const AGENT: &str = "heartwheel";

/// Set to `all`, it has the suite run every case. By default those of compression are left out whose thousand
/// messages have 32 KiB and more each: they take the suite's Python the better part of an hour, and differ from
/// the others only in that size.
const WHICH: &str = "AUTOBAHN";

/// The numbers of those cases, the same in each part of the groups 12 and 13.
const LONG: [u32; 9] = [8, 9, 10, 13, 14, 15, 16, 17, 18];

/// How many parts the two groups have, of 18 cases each.
const PARTS: [(u32, u32); 2] = [(12, 5), (13, 7)];

/// How many cases each group has: framing, pings and pongs, reserved bits, opcodes, fragmentation,
/// UTF-8, closing, limits and speed, the rest, compression, and its parameters. There are no groups 8 and
/// 11.
const GROUPS: [(u32, usize); 11] = [
    (1, 16),
    (2, 11),
    (3, 7),
    (4, 10),
    (5, 20),
    (6, 145),
    (7, 37),
    (9, 54),
    (10, 1),
    (12, 90),
    (13, 126),
];

/// Longest time for a case: some of compression move 128 MiB through the suite's Python, both ways.
const LONGEST_CASE: Duration = Duration::from_secs(5 * 60);

/// Where the RFC leaves the choice: a message with a Close frame right behind it, and Close frames with
/// the codes 5000 and 65535. The suite calls these informational whatever the peer does.
const INFORMATIONAL: [&str; 3] = ["7.1.6", "7.13.1", "7.13.2"];

#[test]
#[ignore = "needs Python 2.7 with pip: pyenv install 2.7.18"]
fn the_server_passes_every_case_strictly() {
    let server = Server::start(
        &[Wire::WebSocket],
        &["--interval", "off", "--max-message", "16MiB", "--deflate"],
    );
    let url = server.url(Wire::WebSocket);
    Suite::new("servers", Cases::All, of_server(&url)).drive_server();
}

#[test]
#[ignore = "needs Python 2.7 with pip: pyenv install 2.7.18"]
fn the_server_passes_over_tls() {
    let files = Files::new();
    files.issue("server", &["127.0.0.1"]);
    let args = ["--interval", "off", "--max-message", "16MiB"].map(String::from);
    let server = secure::serve(&["--wss"], &[&files.flags("server"), &args]);
    let url = format!("wss://{}", secure::addr(&server, "wss"));
    Suite::new("servers-tls", Cases::Plain, of_server(&url)).drive_server();
}

#[test]
#[ignore = "needs Python 2.7 with pip: pyenv install 2.7.18"]
fn the_client_passes_every_case_strictly() {
    Suite::new("clients", Cases::All, json!({})).be_driven(None);
}

#[test]
#[ignore = "needs Python 2.7 with pip: pyenv install 2.7.18"]
fn the_client_passes_over_tls() {
    let files = Files::new();
    files.issue("server", &["127.0.0.1"]);
    Suite::new("clients-tls", Cases::Plain, json!({})).be_driven(Some(&files));
}

#[test]
fn nothing_but_ok_is_strict_where_the_rfc_leaves_no_choice() {
    let is_strict = |id, behavior, closing| {
        let case = json!({"behavior": behavior, "behaviorClose": closing});
        is_strict(id, &case)
    };
    assert!(is_strict("6.4.1", "OK", "OK"));
    assert!(!is_strict("6.4.1", "NON-STRICT", "OK"));
    assert!(!is_strict("6.4.1", "OK", "WRONG CODE"));
    assert!(!is_strict("6.4.1", "INFORMATIONAL", "INFORMATIONAL"));
    assert!(is_strict("7.1.6", "INFORMATIONAL", "INFORMATIONAL"));
    assert!(!is_strict("7.1.6", "INFORMATIONAL", "UNCLEAN"));
}

/// What tells the suite of a server under test.
fn of_server(url: &str) -> Value {
    json!({"servers": [{"agent": AGENT, "url": url}]})
}

/// Which cases are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cases {
    All,
    /// Those without compression.
    Plain,
}

/// One run of the suite: what it is told, and where it reports.
struct Suite {
    directory: PathBuf,
    cases: Cases,
}

impl Suite {
    /// Prepares a run. `side` is the side under test.
    fn new(side: &str, cases: Cases, mut spec: Value) -> Self {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("autobahn")
            .join(side);
        // What an earlier run has reported must not be taken for this one's.
        if directory.exists() {
            fs::remove_dir_all(&directory).unwrap();
        }
        fs::create_dir_all(&directory).unwrap();
        spec["outdir"] = directory.to_str().unwrap().into();
        spec["cases"] = json!(["*"]);
        spec["exclude-cases"] = json!(cases.left_out());
        let suite = Self { directory, cases };
        fs::write(suite.spec(), spec.to_string()).unwrap();
        suite
    }

    fn spec(&self) -> PathBuf {
        self.directory.join("spec.json")
    }

    /// Has its client drive a server through the cases.
    fn drive_server(&self) {
        let mut client = self.client();
        let mut next = 0;
        for _ in 0..self.cases.count() {
            let case = client.wait_past_within(LONGEST_CASE, next, "the next case", |line| {
                line.text.starts_with("Running test case").then_some(())
            });
            next = case.0 + 1;
        }
        let exit = client.wait_exit_within(LONGEST_CASE);
        assert!(exit.success(), "{}", client.transcript());
        self.assert_strict();
    }

    /// Has its server drive our client through the cases. `files` are those of a server with TLS.
    fn be_driven(&self, files: Option<&Files>) {
        let server = self.server(files);
        let port = server.wait_for("listening", |line| {
            let port = line.event("listening")?["port"].as_u64()?;
            u16::try_from(port).ok()
        });
        let tls = files.map(|files| files.client(WireKind::WebSocket).config().unwrap());
        let dial = |path: &str| ClientConfig {
            path: path.into(),
            secure: tls.is_some(),
            tls: tls.clone(),
            ..ClientConfig::new("127.0.0.1", port, WireFactory::WebSocket)
        };
        let mut reactor = Reactor::new(ReactorConfig::default()).unwrap();
        let count = self.cases.count();
        let told = visit(&mut reactor, dial("/getCaseCount"), false);
        assert_eq!(told.heard, count.to_string());
        for case in 1..=count {
            let path = format!("/runCase?case={case}&agent={AGENT}");
            visit(&mut reactor, dial(&path), true);
        }
        let path = format!("/updateReports?agent={AGENT}");
        visit(&mut reactor, dial(&path), false);
        self.assert_strict();
    }

    /// Starts the client that drives a server.
    fn client(&self) -> Process {
        let mut command = tools::autobahn();
        command.args(["-u", "-m", "autobahntestsuite.wstest"]);
        command.args(["--mode", "fuzzingclient", "--spec"]);
        Process::spawn(command.arg(self.spec()), "")
    }

    /// Starts the server that drives a client.
    fn server(&self, files: Option<&Files>) -> Process {
        let mut command = tools::autobahn();
        command.arg("-u").arg(tools::script("autobahn_server.py"));
        command.arg(self.spec());
        if let Some(files) = files {
            command.args([files.path("server.key"), files.path("server.pem")]);
        }
        Process::spawn(&mut command, "")
    }

    /// Reads the report: every case is there, and was passed strictly.
    fn assert_strict(&self) {
        let index = self.read("index.json");
        let report = index[AGENT].as_object().expect("a report of us");
        let mut groups = BTreeMap::new();
        let mut faults = Vec::new();
        for (id, case) in report {
            let group: u32 = id.split('.').next().unwrap().parse().unwrap();
            *groups.entry(group).or_insert(0) += 1;
            if !is_strict(id, case) {
                faults.push(self.explain(case));
            }
        }
        assert_eq!(groups, self.cases.groups(), "cases of each group");
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    /// Returns what the suite says of a case.
    fn explain(&self, case: &Value) -> String {
        let case = self.read(case["reportfile"].as_str().unwrap());
        let said = |key: &str| case[key].as_str().unwrap_or_default().to_owned();
        format!(
            "case {}: {}\n  expected: {}\n  {}: {}\n  closing {}: {}\n  received: {}",
            said("id"),
            said("description"),
            said("expectation"),
            said("behavior"),
            said("result"),
            said("behaviorClose"),
            said("resultClose"),
            case["received"],
        )
    }

    fn read(&self, name: &str) -> Value {
        let path = self.directory.join(name);
        let text = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        serde_json::from_slice(&text).unwrap()
    }
}

impl Cases {
    /// Returns how many cases are run.
    fn count(self) -> usize {
        self.groups().values().sum()
    }

    /// Returns the cases that are not run.
    fn left_out(self) -> Vec<String> {
        if self == Self::Plain {
            return PARTS.map(|(group, _)| format!("{group}.*")).into();
        }
        if std::env::var(WHICH).is_ok_and(|which| which == "all") {
            return Vec::new();
        }
        let parts = PARTS
            .into_iter()
            .flat_map(|(group, parts)| (1..=parts).map(move |part| (group, part)));
        parts
            .flat_map(|(group, part)| LONG.map(|case| format!("{group}.{part}.{case}")))
            .collect()
    }

    /// Returns how many cases of each group are run.
    fn groups(self) -> BTreeMap<u32, usize> {
        let left_out = self.left_out();
        let run = |(group, cases): (u32, usize)| {
            if left_out.contains(&format!("{group}.*")) {
                return None;
            }
            let prefix = format!("{group}.");
            let less = left_out.iter().filter(|id| id.starts_with(&prefix)).count();
            Some((group, cases - less))
        };
        GROUPS.into_iter().filter_map(run).collect()
    }
}

/// Says whether a case ended as it should, with nothing to be lenient about.
fn is_strict(id: &str, case: &Value) -> bool {
    let wanted = if INFORMATIONAL.contains(&id) {
        "INFORMATIONAL"
    } else {
        "OK"
    };
    case["behavior"] == wanted && case["behaviorClose"] == wanted
}

/// One connection to the suite's server.
struct Visit {
    is_echoing: bool,
    /// The last message.
    heard: String,
    is_over: bool,
}

impl Handler for Visit {
    type Data = ();

    fn on_message(&mut self, cx: &mut Context<'_, ()>, id: ConnId, message: Message<'_>) {
        if self.is_echoing {
            let sent = cx.send(id, message);
            assert!(matches!(sent, Ok(()) | Err(SendError::Closed)), "{sent:?}");
        } else {
            self.heard = message.as_text().unwrap().into();
        }
    }

    fn on_close(&mut self, _cx: &mut Context<'_, ()>, _closed: Closed<'_, ()>) {
        self.is_over = true;
    }

    fn on_client(&mut self, _cx: &mut Context<'_, ()>, _id: ClientId, event: ClientEvent) {
        assert!(!matches!(event, ClientEvent::Failed { .. }), "{event:?}");
    }
}

/// Dials the suite's server once, and returns when the connection is over.
fn visit(reactor: &mut Reactor, config: ClientConfig, is_echoing: bool) -> Visit {
    let mut visit = Visit {
        is_echoing,
        heard: String::new(),
        is_over: false,
    };
    let heartbeat = HeartbeatConfig {
        interval: None,
        timeout: None,
        // It writes its reports before it answers.
        handshake_timeout: LONGEST_CASE,
        ..HeartbeatConfig::websocket()
    };
    let path = config.path.clone();
    let config = ClientConfig {
        heartbeat,
        reconnect: None,
        limits: LimitsConfig {
            deflate: Some(DeflateConfig::default()),
            ..LimitsConfig::default()
        },
        ..config
    };
    reactor.connect(config).unwrap();
    let deadline = Instant::now() + LONGEST_CASE;
    while !visit.is_over {
        assert!(Instant::now() < deadline, "{path} does not end");
        reactor
            .turn(&mut visit, Some(Duration::from_millis(100)))
            .unwrap();
    }
    visit
}
