//! Over TLS: clients and servers written by others, with other libraries of TLS: OpenSSL (Python, Node, curl),
//! BoringSSL (Chromium).

use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::support::process::Process;
use crate::support::program;
use crate::support::secure::{Files, addr, serve, wait_event};
use crate::{TEXT, assert_unclean_end_over_tls, is_echoed, open_event, saw_close};

/// Starts a client of a URL that believes a root.
type Client = fn(&str, Option<&Path>) -> Process;

/// Starts a server with the files of a certificate and its key.
type Start = fn([&str; 2]) -> Process;

mod peers {
    pub(super) use crate::support::peers::{
        chromium_client_believing as chromium, node_client_believing as node,
        python_client_believing as python,
    };
}

row!(are_echoed_text_binary_and_a_mebibyte: python node chromium);
row!(see_our_code_and_reason: python node chromium);
row!(end_uncleanly_once_killed: python node chromium);
row!(refuse_a_root_that_they_do_not_know: python node chromium);

/// A server with a certificate for `localhost`.
struct World {
    files: Files,
    server: Process,
}

impl World {
    fn new(listener: &str) -> Self {
        let files = Files::new();
        files.issue("a", &["localhost"]);
        let pages = ["--origin", "http://heart.example", "--origin", "null"];
        let pages = pages.map(str::to_owned);
        let server = serve(&[listener], &[&files.flags("a"), &pages]);
        Self { files, server }
    }

    fn port(&self, scheme: &str) -> u16 {
        addr(&self.server, scheme).port()
    }

    /// Starts a client, and waits until it is open.
    fn join(&self, client: Client) -> Process {
        let url = format!("wss://localhost:{}", self.port("wss"));
        let client = client(&url, Some(Path::new(&self.files.path("root.pem"))));
        open_event(&client);
        client
    }
}

fn are_echoed_text_binary_and_a_mebibyte(client: Client) {
    let world = World::new("--wss");
    is_echoed(&world.join(client));
}

fn see_our_code_and_reason(client: Client) {
    let mut world = World::new("--wss");
    let client = world.join(client);
    world.server.signal(Signal::TERM);
    assert_eq!(saw_close(&client, 1001), "going away");
    assert_eq!(wait_event(&world.server, 0, "closed")["clean"], true);
    assert!(world.server.wait_exit().success());
}

fn end_uncleanly_once_killed(client: Client) {
    let world = World::new("--wss");
    let client = world.join(client);
    is_echoed(&client);
    client.kill();
    assert_unclean_end_over_tls(&wait_event(&world.server, 0, "closed"));
}

fn refuse_a_root_that_they_do_not_know(client: Client) {
    let world = World::new("--wss");
    let url = format!("wss://localhost:{}", world.port("wss"));
    let client = client(&url, None);
    client.wait_for("failed", |line| line.event("failed").map(drop));
    let rejected = wait_event(&world.server, 0, "rejected");
    assert_eq!(rejected["cause"], "tls_handshake", "{rejected}");
    let reason = rejected["reason"].as_str().unwrap();
    // Node judges behind the handshake, and Python's asyncio throws its alert away: both just leave.
    let theirs = ["unknown_ca", "certificate_unknown", "truncated"];
    assert!(
        theirs.iter().any(|alert| reason.contains(alert)),
        "{rejected}"
    );
}

/// Has `connect` talk to a server of others.
fn answers_connect(start: Start) {
    let files = Files::new();
    files.issue("a", &["localhost"]);
    let [_, cert, _, key] = files.flags("a");
    let server = start([&cert, &key]);
    let port = server.wait_for("listening", |line| {
        line.event("listening")?["port"].as_u64()
    });
    let (url, root) = (format!("wss://localhost:{port}"), files.path("root.pem"));
    let client = program::start(&["connect", &url, "--ca", &root, "--json"]);
    open_event(&client);
    client.input().say(TEXT);
    assert_eq!(wait_event(&client, 0, "message")["text"], TEXT);
    wait_event(&client, 0, "pong");
    client.signal(Signal::INT);
    saw_close(&server, 1000);
}

#[test]
#[ignore = "needs Python 3: install python3 and python3-venv"]
fn python_answers_connect() {
    answers_connect(crate::support::peers::python_server_showing);
}

#[test]
#[ignore = "needs Node: install nodejs and npm"]
fn node_answers_connect() {
    answers_connect(crate::support::peers::node_server_showing);
}

#[test]
#[ignore = "needs curl and OpenSSL: install curl and openssl"]
fn curl_asks_how_we_are_in_both_versions() {
    let world = World::new("--wss");
    let url = format!("https://localhost:{}/healthz", world.port("wss"));
    let root = world.files.path("root.pem");
    for version in [
        ["--tlsv1.2", "--tls-max", "1.2"],
        ["--tlsv1.3", "--tls-max", "1.3"],
    ] {
        let said = output(
            Command::new("curl")
                .args(["-sS", "--noproxy", "*", "--cacert", &root])
                .args(version)
                .args([
                    "-o",
                    "/dev/null",
                    "-w",
                    "%{http_code} %{http_version} %{ssl_verify_result}",
                    &url,
                ]),
        );
        // It offers HTTP/2 before HTTP/1.1.
        assert_eq!(said, "200 1.1 0", "{version:?}");
    }
}

#[test]
#[ignore = "needs curl and OpenSSL: install curl and openssl"]
fn s_client_talks_lines_in_both_versions_and_changes_its_keys() {
    let world = World::new("--tls-tcp");
    let place = format!("127.0.0.1:{}", world.port("tcps"));
    let root = world.files.path("root.pem");
    for version in ["-tls1_2", "-tls1_3"] {
        let mut command = Command::new("openssl");
        command.args([
            "s_client",
            "-connect",
            &place,
            "-servername",
            "localhost",
            "-CAfile",
            &root,
        ]);
        command.args(["-verify_return_error", version]);
        let client = Process::spawn(&mut command, "install the package openssl");
        let echoed = |text: &str| {
            client.input().say(text);
            client.wait_for(text, |line| (line.text == text).then_some(()));
        };
        echoed("hello");
        for round in 0..3 {
            if version == "-tls1_3" {
                // New keys of theirs, and they ask for new ones of ours. What comes with the letter is lost.
                client.input().say("K");
                let mut told = 0;
                client.wait_logged("new keys", |line| {
                    told += usize::from(line.text == "KEYUPDATE");
                    (told > round).then_some(())
                });
            }
            echoed(&format!("round {round}"));
        }
        client.input().say("Q");
        wait_event(&world.server, 0, "closed");
    }
}

#[test]
#[ignore = "needs curl and OpenSSL: install curl and openssl"]
fn s_client_is_refused_with_a_version_that_is_too_old() {
    let world = World::new("--tls-tcp");
    let place = format!("127.0.0.1:{}", world.port("tcps"));
    let mut command = Command::new("openssl");
    command.args([
        "s_client",
        "-connect",
        &place,
        "-tls1_1",
        "-cipher",
        "DEFAULT@SECLEVEL=0",
    ]);
    let mut client = Process::spawn(&mut command, "install the package openssl");
    assert!(!client.wait_exit().success());
    assert!(
        client.stderr().contains("SSL alert number"),
        "{}",
        client.transcript()
    );
    let rejected = wait_event(&world.server, 0, "rejected");
    assert_eq!(rejected["cause"], "tls_handshake", "{rejected}");
}

/// Keys in all the forms that OpenSSL writes; rcgen knows only one of them.
#[test]
#[ignore = "needs curl and OpenSSL: install curl and openssl"]
fn keys_are_taken_as_openssl_writes_them() {
    let files = Files::new();
    let [_, cert, _, key] = files.flags("made");
    let openssl = |args: &str| {
        let args = args.split(' ').filter(|arg| !arg.is_empty());
        output(Command::new("openssl").args(args));
    };
    for (make, header) in [
        (
            format!("genrsa -traditional -out {key} 2048"),
            "RSA PRIVATE KEY",
        ),
        (format!("genrsa -out {key} 2048"), "PRIVATE KEY"),
        (
            format!("ecparam -name prime256v1 -genkey -noout -out {key}"),
            "EC PRIVATE KEY",
        ),
        (
            format!("ecparam -name secp384r1 -genkey -out {key}"),
            "EC PRIVATE KEY",
        ),
        (
            format!("genpkey -algorithm ed25519 -out {key}"),
            "PRIVATE KEY",
        ),
    ] {
        openssl(&make);
        let written = std::fs::read_to_string(&key).unwrap();
        assert!(written.contains(&format!("BEGIN {header}")), "{written}");
        // As the README says it.
        openssl(&format!(
            "req -x509 -key {key} -days 30 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
             -addext basicConstraints=critical,CA:FALSE -out {cert}"
        ));
        let server = serve(&["--wss"], &[&files.flags("made")]);
        let url = format!("wss://localhost:{}", addr(&server, "wss").port());
        let client = program::start(&["connect", &url, "--ca", &cert, "--json"]);
        open_event(&client);
    }
    openssl(&format!(
        "genrsa -aes128 -passout pass:secret -out {key} 2048"
    ));
    let mut refused = serve(&["--wss"], &[&files.flags("made")]);
    assert_eq!(refused.wait_exit().code(), Some(2));
    assert!(
        refused.stderr().contains("openssl pkey"),
        "{}",
        refused.transcript()
    );
}

fn output(command: &mut Command) -> String {
    let output = command
        .output()
        .expect("install the packages curl and openssl");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
