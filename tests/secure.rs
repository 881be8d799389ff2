//! TLS of the program: which certificate who gets, how certificates are replaced, and who is refused.
#![cfg(all(unix, feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use heartwheel::WireKind;
use rustix::process::Signal;
use support::certs::Root;
use support::process::Process;
use support::program;
use support::secure::{Files, Peer, addr, fault, pair, serve, shown, wait_event};

/// A fault in how it was asked.
const USAGE: i32 = 2;

// Flags.

#[test]
fn a_flag_without_its_counterpart_says_what_to_add() {
    let files = Files::new();
    files.issue("a", &["a.example"]);
    let (cert, key) = (files.path("a.pem"), files.path("a.key"));
    let (cert, key) = (cert.as_str(), key.as_str());
    for (flags, parts) in [
        (
            &["--wss", ":0"][..],
            &["--wss", "--cert FILE --key FILE"][..],
        ),
        (&["--tls-tcp", ":0", "--cert", cert], &["--key FILE"]),
        (&["--tls-tcp", ":0", "--key", key], &["--cert FILE"]),
        (&["--tcp", ":0", "--cert", cert, "--key", key], &["--wss"]),
        (&["--client-ca", cert], &["--client-ca", "--wss"]),
        (
            &["--wss", ":0", "--cert", cert, "--cert", cert, "--key", key],
            &["twice", "once"],
        ),
    ] {
        let args = [&["serve"], flags].concat();
        refuses(program::start(&args), parts);
    }
    for (flags, parts) in [
        (&["tcps://a:1", "--cert", cert][..], &["--key"][..]),
        (
            &["tcps://a:1", "--ca", cert, "--insecure"],
            &["--ca", "--insecure"],
        ),
        (&["tcp://a:1", "--ca", cert], &["--ca", "tcps://"]),
        (
            &["ws://a", "--server-name", "b"],
            &["--server-name", "wss://"],
        ),
        (
            &["wss://a", "--ca", "/no/such"],
            &["--ca", "/no/such", "check the path"],
        ),
    ] {
        let args = [&["connect"], flags].concat();
        refuses(program::start(&args), parts);
    }
}

#[test]
fn a_file_that_will_not_do_is_named_with_the_reason() {
    let files = Files::new();
    files.issue("a", &["a.example"]);
    files.issue("b", &["b.example"]);
    fs::write(files.path("empty"), "").unwrap();
    let path = |name: &str| files.path(name);
    for (cert, key, flag, reason) in [
        ("none", "a.key", "--cert", "check the path"),
        ("empty", "a.key", "--cert", "no certificate"),
        ("a.key", "a.pem", "--cert", "no certificate"),
        ("a.pem", "a.pem", "--key", "no private key"),
        ("a.pem", "b.key", "--key", "does not fit"),
    ] {
        let (cert, key) = (path(cert), path(key));
        let args = [
            "serve",
            "--wss",
            "127.0.0.1:0",
            "--cert",
            &cert,
            "--key",
            &key,
        ];
        let at_fault = if flag == "--key" { &key } else { &cert };
        refuses(program::start(&args), &[flag, at_fault, reason]);
    }
}

#[test]
fn a_key_that_everybody_may_read_is_warned_of() {
    let files = Files::new();
    files.issue("a", &["a.example"]);
    let mode = fs::Permissions::from_mode(0o644);
    fs::set_permissions(files.path("a.key"), mode).unwrap();
    let server = serve(&["--tls-tcp"], &[&files.flags("a")]);
    server.wait_logged("a warning", |line| {
        line.text.contains("chmod o-r").then_some(())
    });
}

#[test]
fn an_end_that_is_near_or_past_is_told_at_the_start() {
    let files = Files::new();
    files.put("soon", &files.root.issue(&["soon.example"], -80, 5));
    files.put("past", &files.root.issue(&["past.example"], -80, -1));
    files.issue("fine", &["fine.example"]);
    let pairs = ["soon", "past", "fine"].map(|name| files.flags(name));
    let server = serve(&["--tls-tcp"], &[&pairs[0], &pairs[1], &pairs[2]]);
    let logged = |parts: &[&str]| {
        server.wait_logged(&parts.join(" "), |line| {
            parts
                .iter()
                .all(|part| line.text.contains(part))
                .then_some(())
        });
    };
    logged(&["warn", "soon.pem", "expires in ", " days", "SIGHUP"]);
    logged(&["error", "past.pem", "expired at", "SIGHUP"]);
    logged(&["info", "fine.pem", "fine.example", "valid until"]);
    assert!(
        !server
            .stderr()
            .contains("fine.pem: the certificate expires")
    );
    // Some service is better than none.
    let client = files.client(WireKind::Line).config().unwrap();
    let error = Peer::connect(addr(&server, "tcps"), &client, "past.example");
    assert_eq!(fault(&error.err().unwrap()), "certificate_expired");
}

// Who gets what.

#[test]
fn each_name_has_its_certificate_and_the_first_is_for_all_others() {
    let files = Files::new();
    let issued = [
        files.root.issue(&["main.example"], -1, 90),
        files
            .root
            .issue(&["*.chat.example", "chat.example"], -1, 90),
    ];
    files.put("main", &issued[0]);
    files.put("chat", &issued[1]);
    let flags = [files.flags("main"), files.flags("chat")];
    let server = serve(&["--tls-tcp"], &[&flags[0], &flags[1]]);
    let addr = addr(&server, "tcps");
    let client = files.client(WireKind::Line).config().unwrap();
    for (name, which) in [
        ("main.example", 0),
        ("chat.example", 1),
        ("eu.chat.example", 1),
    ] {
        let mut peer = Peer::connect(addr, &client, name).unwrap();
        assert_eq!(peer.shown(), shown(&issued[which]), "{name}");
        peer.echoes("hello");
    }
    let error = Peer::connect(addr, &client, "other.example").err().unwrap();
    assert_eq!(fault(&error), "certificate_not_valid_for_name");
    let rejected = wait_event(&server, 0, "rejected");
    assert_eq!(rejected["cause"], "tls_handshake", "{rejected}");
    // A client without a name, because it dials an address.
    let anybody = heartwheel::tls::ClientTls {
        trust: heartwheel::tls::Trust::Anybody,
        ..files.client(WireKind::Line)
    };
    let peer = Peer::connect(addr, &anybody.config().unwrap(), "127.0.0.1").unwrap();
    assert_eq!(peer.shown(), shown(&issued[0]));
}

#[test]
fn certificates_are_replaced_at_sighup_and_nobody_is_dropped() {
    let files = Files::new();
    files.issue("a", &["a.example"]);
    let server = serve(&["--tls-tcp"], &[&files.flags("a")]);
    let addr = addr(&server, "tcps");
    let client = || files.client(WireKind::Line).config().unwrap();
    let mut old = Peer::connect(addr, &client(), "a.example").unwrap();
    old.echoes("before");

    let renewed = files.root.issue(&["a.example", "b.example"], -1, 60);
    files.put("a", &renewed);
    let reloaded = hang_up(&server, "reloaded");
    assert_eq!(
        (&reloaded["certificates"], &reloaded["changed"]),
        (&1.into(), &1.into())
    );
    server.wait_logged("what it is now", |line| {
        (line.text.contains("b.example") && line.text.contains("the one before")).then_some(())
    });
    old.echoes("after");
    let mut new = Peer::connect(addr, &client(), "b.example").unwrap();
    assert_eq!(new.shown(), shown(&renewed));
    new.echoes("hello");
    let again = hang_up(&server, "reloaded");
    assert_eq!(again["changed"], 0);
}

#[test]
fn a_bad_pair_at_sighup_changes_nothing_and_is_told() {
    let files = Files::new();
    let good = files.root.issue(&["a.example"], -1, 90);
    files.put("a", &good);
    let server = serve(&["--tls-tcp"], &[&files.flags("a")]);
    let addr = addr(&server, "tcps");
    let client = || files.client(WireKind::Line).config().unwrap();
    let other = Root::new().issue(&["a.example"], -1, 90);
    let expired = files.root.issue(&["a.example"], -9, -1);
    let spoil: [(&dyn Fn(), [&str; 2]); 4] = [
        (
            &|| fs::write(files.path("a.pem"), "").unwrap(),
            ["a.pem", "no certificate"],
        ),
        (
            &|| fs::write(files.path("a.key"), &other.key).unwrap(),
            ["a.key", "does not fit"],
        ),
        (&|| files.put("a", &expired), ["a.pem", "expired at"]),
        (
            &|| fs::remove_file(files.path("a.key")).unwrap(),
            ["a.key", "cannot be read"],
        ),
    ];
    for (spoil, parts) in spoil {
        files.put("a", &good);
        spoil();
        let failed = hang_up(&server, "reload_failed");
        let reason = failed["reason"].as_str().unwrap();
        assert!(
            parts.iter().all(|part| reason.contains(part)),
            "{parts:?}: {reason}"
        );
        let mut peer = Peer::connect(addr, &client(), "a.example").unwrap();
        assert_eq!(peer.shown(), shown(&good));
        peer.echoes("hello");
    }
    server.wait_logged("what stays", |line| {
        line.text.contains("in use stay").then_some(())
    });
}

#[test]
fn a_hangup_that_is_ignored_at_the_start_reloads_all_the_same() {
    let files = Files::new();
    files.issue("a", &["a.example"]);
    let mut nohup = Command::new("nohup");
    nohup
        .env("LC_ALL", "C")
        .arg(env!("CARGO_BIN_EXE_heartwheel"));
    nohup.args(["serve", "--json", "--tls-tcp", "127.0.0.1:0"]);
    let server = Process::spawn(nohup.args(files.flags("a")), "nohup is part of coreutils");
    addr(&server, "tcps");
    hang_up(&server, "reloaded");
}

// Clients with certificates.

#[test]
fn clients_without_a_certificate_of_the_right_root_are_refused() {
    let (files, theirs) = (Files::new(), Files::new());
    files.issue("a", &["a.example"]);
    let client_ca = ["--client-ca".to_owned(), theirs.path("root.pem")];
    let server = serve(&["--tls-tcp"], &[&files.flags("a"), &client_ca]);
    let addr = addr(&server, "tcps");
    let client = |identity| heartwheel::tls::ClientTls {
        identity,
        ..files.client(WireKind::Line)
    };
    for (identity, alert, reason) in [
        (None, "certificate_required", "certificate_required"),
        (
            Some(pair(&files.root.issue(&["me"], -1, 9))),
            "unknown_ca",
            "certificate_unknown_issuer",
        ),
        (
            Some(pair(&theirs.root.issue(&["me"], -9, -1))),
            "certificate_expired",
            "certificate_expired",
        ),
    ] {
        let mark = server.mark();
        let client = client(identity).config().unwrap();
        // The client of TLS 1.3 is through with the handshake before the server has judged it.
        let told = Peer::connect(addr, &client, "a.example").and_then(|mut peer| peer.read());
        assert_eq!(fault(&told.unwrap_err()), alert);
        let rejected = wait_event(&server, mark, "rejected");
        assert_eq!(rejected["cause"], "tls_handshake", "{rejected}");
        assert!(
            rejected["reason"].as_str().unwrap().contains(reason),
            "{rejected}"
        );
    }
    let ours = client(Some(pair(&theirs.root.issue(&["me"], -1, 9))));
    let ours = ours.config().unwrap();
    Peer::connect(addr, &ours, "a.example")
        .unwrap()
        .echoes("hello");
    // Whom they are to be signed by is read again, too.
    fs::write(theirs.path("root.pem"), Root::new().pem()).unwrap();
    hang_up(&server, "reloaded");
    let told = Peer::connect(addr, &ours, "a.example").and_then(|mut peer| peer.read());
    assert_eq!(fault(&told.unwrap_err()), "unknown_ca");
}

#[test]
fn connect_shows_its_certificate() {
    let (files, theirs) = (Files::new(), Files::new());
    files.issue("a", &["localhost"]);
    theirs.issue("me", &["me"]);
    let client_ca = ["--client-ca".to_owned(), theirs.path("root.pem")];
    let server = serve(&["--wss"], &[&files.flags("a"), &client_ca]);
    let url = format!("wss://localhost:{}", addr(&server, "wss").port());
    let ca = files.path("root.pem");
    let mine = theirs.flags("me");
    let mut args = vec!["connect", &url, "--ca", &ca, "--json"];
    args.extend(mine.iter().map(String::as_str));
    says_hello(&program::start(&args));
}

// Whom connect believes.

#[test]
fn connect_believes_the_root_that_it_is_given() {
    let files = Files::new();
    files.issue("a", &["localhost"]);
    let listeners = ["--wss", "--tls-tcp", "--tls-tcp-binary"];
    let server = serve(&listeners, &[&files.flags("a")]);
    let ca = files.path("root.pem");
    for scheme in ["wss", "tcps", "tcps+binary"] {
        let url = format!("{scheme}://localhost:{}", addr(&server, scheme).port());
        says_hello(&program::start(&["connect", &url, "--ca", &ca, "--json"]));
    }
}

#[test]
fn a_server_that_is_not_believed_is_refused_in_words() {
    let files = Files::new();
    files.issue("a", &["a.example"]);
    let server = serve(&["--wss"], &[&files.flags("a")]);
    let url = format!("wss://localhost:{}", addr(&server, "wss").port());
    let (ours, other) = (files.path("root.pem"), files.path("other.pem"));
    fs::write(&other, Root::new().pem()).unwrap();
    for (flags, reason) in [
        (
            &["--ca", &other, "--server-name", "a.example"][..],
            "certificate_unknown_issuer",
        ),
        (&["--ca", &ours], "certificate_not_valid_for_name"),
    ] {
        let args = [&["connect", &url, "--no-reconnect", "--json"], flags].concat();
        let mut client = program::start(&args);
        let failed = wait_event(&client, 0, "failed");
        let error = failed["error"].as_str().unwrap();
        assert!(error.contains(reason), "{error}");
        assert_ne!(client.wait_exit().code(), Some(0));
    }
    let name = [
        "connect",
        &url,
        "--ca",
        &ours,
        "--server-name",
        "a.example",
        "--json",
    ];
    says_hello(&program::start(&name));
}

#[test]
fn roots_of_the_system_that_cannot_be_read_are_told() {
    let files = Files::new();
    let connect = |file: &str| {
        let mut command = program::heartwheel(&["connect", "wss://127.0.0.1:9", "--no-reconnect"]);
        command
            .env("SSL_CERT_FILE", file)
            .env_remove("SSL_CERT_DIR");
        let mut client = Process::spawn(&mut command, "");
        (client.wait_exit().code(), client.stderr())
    };
    let (code, stderr) = connect("/no/such/root.pem");
    assert_eq!(code, Some(1), "{stderr}");
    for part in ["/no/such/root.pem", "ca-certificates", "--ca FILE"] {
        assert!(stderr.contains(part), "names no {part:?}: {stderr}");
    }
    // One is enough to go on, and the other is told.
    let some = files.path("some.pem");
    let garbled = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(&some, files.root.pem() + garbled).unwrap();
    let (code, stderr) = connect(&some);
    assert_ne!(code, Some(2), "{stderr}");
    assert!(stderr.contains("1 certificates are malformed"), "{stderr}");
}

#[test]
fn insecure_is_loud_and_believes_anybody() {
    let files = Files::new();
    files.put("a", &files.root.issue(&["a.example"], -9, -1));
    let server = serve(&["--wss"], &[&files.flags("a")]);
    let url = format!("wss://localhost:{}", addr(&server, "wss").port());
    let client = program::start(&["connect", &url, "--insecure", "--json"]);
    client.wait_logged("a warning", |line| {
        line.text.starts_with("WARNING: --insecure").then_some(())
    });
    says_hello(&client);
}

/// Loops share a port, and the keys of tickets: a client may come back to another loop.
#[test]
#[cfg(target_os = "linux")]
fn who_comes_back_to_another_loop_is_known_there() {
    use heartwheel::rustls::HandshakeKind;

    let files = Files::new();
    files.issue("a", &["a.example"]);
    let shards = ["--shards".to_owned(), "3".to_owned()];
    let server = serve(&["--tls-tcp"], &[&files.flags("a"), &shards]);
    let addr = addr(&server, "tcps");
    let client = files.client(WireKind::Line).config().unwrap();
    let mut kinds = Vec::new();
    for _ in 0..12 {
        let mut peer = Peer::connect(addr, &client, "a.example").unwrap();
        peer.echoes("hello");
        kinds.push(peer.conn().handshake_kind());
    }
    assert_eq!(kinds[0], Some(HandshakeKind::Full));
    assert!(
        kinds[1..]
            .iter()
            .all(|kind| *kind == Some(HandshakeKind::Resumed)),
        "{kinds:?}"
    );
    hang_up(&server, "reloaded");
}

/// A terminal that is closed sends SIGHUP as well, and means the end.
#[test]
#[cfg(target_os = "linux")]
fn a_terminal_that_is_closed_still_ends_it() {
    use std::os::fd::OwnedFd;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    let files = Files::new();
    files.issue("a", &["a.example"]);
    // No other process may hold it open.
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal: OwnedFd = openpt(flags).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let path = ptsname(&terminal, Vec::new())
        .unwrap()
        .into_string()
        .unwrap();
    // It leads a session of its own, so the first terminal that it opens is its terminal.
    let script = format!("exec < {path}; exec \"$@\"");
    let mut command = Command::new("setsid");
    command.args(["sh", "-c", &script, "sh", env!("CARGO_BIN_EXE_heartwheel")]);
    command.args(["serve", "--json", "--tls-tcp", "127.0.0.1:0"]);
    let mut server = Process::spawn(
        command.args(files.flags("a")),
        "setsid is part of util-linux",
    );
    addr(&server, "tcps");
    hang_up(&server, "reloaded");
    drop(terminal);
    wait_event(&server, 0, "draining");
    assert!(server.wait_exit().success());
}

/// Has an open connection send a line and hear it again.
fn says_hello(client: &Process) {
    wait_event(client, 0, "open");
    client.input().say("hello");
    wait_event(client, 0, "message");
}

/// Sends SIGHUP, and waits for what comes of it.
fn hang_up(server: &Process, event: &str) -> serde_json::Value {
    let mark = server.mark();
    server.signal(Signal::HUP);
    wait_event(server, mark, event)
}

/// Expects an exit as for wrong usage, with one line that names all these parts.
fn refuses(mut process: Process, parts: &[&str]) {
    let status = process.wait_exit();
    let (stderr, shown) = (process.stderr(), process.transcript());
    assert_eq!(status.code(), Some(USAGE), "{shown}");
    assert_eq!(stderr.lines().count(), 1, "one line: {shown}");
    for part in parts {
        assert!(stderr.contains(part), "names no {part:?}: {shown}");
    }
}
