//! The program's manners: bad input gets one clear line and the right exit code, and signals end it
//! as promised.
#![cfg(all(unix, feature = "cli"))]
#![allow(clippy::unwrap_used, reason = "a test")]

mod support;

use std::net::{TcpListener, TcpStream};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use support::place::Place;
use support::process::Process;
use support::program::{self, Server};
use support::raw::{Arrival, RawPeer};
use support::record::Record;
use support::{PATIENCE, Wire};

/// A failure of what was asked, such as a port in use.
const FAILED: i32 = 1;
/// A fault in how it was asked.
const USAGE: i32 = 2;

// Usage and configuration.

#[test]
fn an_unknown_flag_is_named() {
    refuses(&["serve", "--intervall", "1s"], USAGE, &["--intervall"]);
    refuses(
        &["connect", "--frobnicate", "ws://127.0.0.1:9"],
        USAGE,
        &["--frobnicate"],
    );
}

#[test]
fn an_unknown_command_is_named() {
    refuses(&["server"], USAGE, &["server", "serve"]);
}

#[test]
fn a_command_is_asked_for() {
    let (status, _, stderr) = run(&[]);
    assert_eq!(status.code(), Some(USAGE));
    for part in ["Usage: heartwheel", "serve", "connect"] {
        assert!(stderr.contains(part), "names no {part:?}:\n{stderr}");
    }
}

#[test]
fn a_flag_without_its_value_is_named() {
    refuses(&["serve", "--interval"], USAGE, &["--interval"]);
}

#[test]
fn a_bad_address_is_named_with_its_flag() {
    for address in [
        "localhost:notaport",
        "127.0.0.1:70000",
        "300.0.0.1:80",
        "",
        ":::",
    ] {
        refuses(&["serve", "--ws", address], USAGE, &["--ws", address]);
    }
    refuses(
        &["serve", "--tcp", "127.0.0.1"],
        USAGE,
        &["--tcp", "127.0.0.1"],
    );
}

#[test]
fn a_proxy_that_is_no_network_is_named_with_its_flag() {
    for network in ["proxy", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.0:80"] {
        let args = ["serve", "--proxy-protocol", "--trust-proxy", network];
        refuses(&args, USAGE, &["--trust-proxy", network]);
    }
}

#[test]
fn a_bad_duration_is_named_with_its_flag() {
    for duration in [
        "soon",
        "1",
        "1.5",
        "-1s",
        "",
        "10parsecs",
        "99999999999999999999s",
    ] {
        let argument = format!("--interval={duration}");
        refuses(&["serve", &argument], USAGE, &["--interval", duration]);
    }
    refuses(&["serve", "--drain", "later"], USAGE, &["--drain", "later"]);
}

#[test]
fn what_the_kernel_cannot_be_asked_for_is_refused_by_flag() {
    for (flag, value) in [
        ("--tcp-user-timeout", "0s"),
        ("--tcp-user-timeout", "30days"),
        ("--tcp-keepalive", "1500ms"),
        ("--tcp-keepalive", "30s,0s"),
        ("--tcp-keepalive", "30s,5s,0"),
        ("--tcp-keepalive", "30s,5s,many"),
    ] {
        refuses(&["serve", flag, value], USAGE, &[flag]);
    }
}

#[test]
fn a_bad_size_is_named_with_its_flag() {
    for size in ["big", "-1", "", "12XiB"] {
        let argument = format!("--max-message={size}");
        refuses(&["serve", &argument], USAGE, &["--max-message", size]);
    }
}

#[test]
fn a_bad_choice_is_named_with_what_there_is() {
    refuses(
        &["serve", "--mode", "mirror"],
        USAGE,
        &["--mode", "mirror", "echo", "broadcast"],
    );
    refuses(
        &["serve", "--proof", "hope"],
        USAGE,
        &["--proof", "hope", "bytes", "pong"],
    );
    refuses(
        &["serve", "--log-level", "loud"],
        USAGE,
        &["--log-level", "loud", "debug"],
    );
}

#[test]
fn a_timeout_that_does_not_exceed_the_interval_is_refused() {
    for timeout in ["5s", "10s"] {
        let args = ["serve", "--interval", "10s", "--timeout", timeout];
        refuses(&args, USAGE, &["timeout", "interval"]);
    }
}

#[test]
fn zero_is_refused_by_name() {
    for flag in [
        "--interval",
        "--timeout",
        "--write-timeout",
        "--handshake-timeout",
    ] {
        refuses(&["serve", flag, "0s"], USAGE, &[&flag[2..]]);
    }
    refuses(&["serve", "--tick", "0ms"], USAGE, &["tick"]);
    refuses(
        &["serve", "--max-connections", "0"],
        USAGE,
        &["max-connections"],
    );
}

#[test]
fn huge_values_are_refused_by_name() {
    refuses(&["serve", "--interval", "10000days"], USAGE, &["interval"]);
    refuses(&["serve", "--timeout", "10000days"], USAGE, &["timeout"]);
    refuses(&["serve", "--tick", "1h"], USAGE, &["tick"]);
    refuses(
        &["serve", "--max-message", "99999999999999999999GiB"],
        USAGE,
        &["max-message"],
    );
    let huge = "99999999999999999999";
    refuses(
        &["serve", "--max-connections", huge],
        USAGE,
        &["max-connections"],
    );
}

#[test]
fn proof_by_pongs_without_pings_is_refused() {
    let args = [
        "serve",
        "--interval",
        "off",
        "--timeout",
        "10s",
        "--proof",
        "pong",
    ];
    refuses(&args, USAGE, &["proof", "pong"]);
}

#[test]
fn a_bad_url_is_named() {
    for url in [
        "127.0.0.1:9001",
        "http://127.0.0.1:9001",
        "ws://",
        "ws://127.0.0.1:70000",
        "tcp://",
    ] {
        refuses(&["connect", url], USAGE, &[url]);
    }
    refuses(&["connect"], USAGE, &["URL"]);
}

#[test]
fn what_makes_no_request_is_named_by_its_flag() {
    let url = "ws://127.0.0.1:9";
    for (args, named) in [
        (&["--header", "Host: a b"][..], "--header Host"),
        (
            &["--header", "Host: a", "--header", "host: a"],
            "--header Host",
        ),
        (&["--header", "X Y: a"], "--header"),
        (&["--header", "Upgrade: h2c"], "--header"),
        (&["--subprotocol", "a b"], "--subprotocol"),
    ] {
        refuses(&[&["connect", url], args].concat(), USAGE, &[named]);
        let (_, _, stderr) = run(&[&["connect", url], args].concat());
        assert!(!stderr.contains("URL"), "{stderr}");
    }
    refuses(&["connect", "ws://127.0.0.1:9/a b"], USAGE, &["the URL"]);
}

#[test]
fn what_is_typed_wrong_is_one_line_without_a_puzzle() {
    refuses(
        &["connect"],
        USAGE,
        &["error: <URL> is missing (try --help)\n"],
    );
    refuses(
        &["serve", "--max-connections", "-5"],
        USAGE,
        &["'-5'", "--max-connections", "negative"],
    );
    refuses(&["serve", "--mo\nde"], USAGE, &["--mo\\nde"]);
}

// What the machine refuses.

#[test]
fn a_port_in_use_is_named() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    for flag in ["--ws", "--tcp", "--tcp-binary", "--tcp-raw"] {
        let args = ["serve", flag, &address, "--max-connections", "100"];
        refuses(&args, FAILED, &[&address, "in use"]);
    }
}

#[test]
fn an_address_of_another_machine_is_named() {
    // From the block for documentation (RFC 5737): no machine has it.
    let args = ["serve", "--ws", "192.0.2.1:0", "--max-connections", "100"];
    refuses(&args, FAILED, &["192.0.2.1"]);
}

#[test]
fn a_port_without_permission_is_named() {
    use std::os::unix::process::CommandExt;

    let args = ["serve", "--ws", "127.0.0.1:80", "--max-connections", "100"];
    let mut command = program::heartwheel(&args);
    let place = std::env::temp_dir().join(format!("heartwheel-{}", std::process::id()));
    if geteuid().is_root() {
        // As nobody, who may not enter every checkout: from a copy.
        std::fs::create_dir(&place).unwrap();
        let copy = place.join("heartwheel");
        // Made by a process of its own: what another test starts while this one had the copy open
        // for writing would keep it so, and a file that is written cannot be run.
        let made = Command::new("cp")
            .arg(command.get_program())
            .arg(&copy)
            .status();
        assert!(made.is_ok_and(|status| status.success()));
        command = Command::new(copy);
        command.args(args).uid(65_534).gid(65_534);
        command.current_dir(&place);
    }
    let first_free = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    let refused = first_free.map_or(true, |port| port.trim().parse::<u16>().unwrap() > 80);
    let mut process = Process::spawn(&mut command, "`cargo test` builds it");
    if refused {
        assert_refusal(process, FAILED, &["127.0.0.1:80", "ermission"]);
    } else {
        // This system has no port that needs a permission: there is nothing to refuse.
        process.signal(Signal::TERM);
        process.wait_exit();
    }
    let _nothing_copied = std::fs::remove_dir_all(place);
}

// Help.

#[test]
fn the_version_is_printed() {
    let (status, stdout, stderr) = run(&["--version"]);
    assert!(status.success());
    assert_eq!(
        stdout,
        format!("heartwheel {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(stderr, "");
}

#[test]
fn help_names_the_commands_and_their_flags() {
    helps(&["--help"], &["serve", "connect"]);
    let serve = [
        "--ws",
        "--tcp",
        "--tcp-binary",
        "--tcp-raw",
        "--mode",
        "--interval",
        "--timeout",
    ];
    helps(&["serve", "--help"], &serve);
    let more = [
        "--write-timeout",
        "--handshake-timeout",
        "--close-timeout",
        "--tick",
        "--proof",
    ];
    helps(&["serve", "--help"], &more);
    let rest = [
        "--ping-slack",
        "--max-connections",
        "--max-message",
        "--send-queue",
        "--drain",
    ];
    helps(&["serve", "--help"], &rest);
    helps(&["serve", "--help"], &["--log-level", "--quiet", "--json"]);
    helps(
        &["connect", "--help"],
        &["URL", "ws://", "tcp://", "--interval", "--timeout"],
    );
}

// Events.

#[test]
fn people_get_a_line_for_each_event() {
    let process = program::start(&["serve", "--tcp", "127.0.0.1:0"]);
    let port: u16 = process.wait_for("listening", |line| {
        let port = line.text.strip_prefix("listening tcp 127.0.0.1:")?;
        port.parse().ok()
    });
    let peer = RawPeer::connect(Wire::Line, port);
    let address = format!("peer=127.0.0.1:{}", peer.local_port());
    let tells = |event: &str, words: &[&str]| {
        process.wait_for(event, |line| {
            let mut said = line.text.split(' ');
            let is_it = said.next() == Some(event) && said.next()?.starts_with("id=");
            let said: Vec<_> = said.collect();
            (is_it && words.iter().all(|word| said.contains(word))).then_some(())
        });
    };
    tells("open", &[&address, "wire=tcp"]);
    drop(peer);
    tells("closed", &[&address, "cause=peer_eof", "clean=true"]);
}

#[test]
fn of_interval_and_timeout_one_follows_the_other_and_both_are_told() {
    for (flag, time) in [("--interval", "4s"), ("--timeout", "10s")] {
        let server = Server::start(&[Wire::WebSocket], &[flag, time]);
        let told = server.process().wait_for("listening", |line| {
            let event = line.event("listening")?;
            Some((
                event["interval_us"].as_u64()?,
                event["timeout_us"].as_u64()?,
            ))
        });
        assert_eq!(told, (4_000_000, 10_000_000), "{flag} {time}");
    }
}

#[test]
fn f24_the_limit_of_descriptors_is_raised_at_the_start_and_told() {
    let mut limited = Command::new("prlimit");
    limited.arg("--nofile=100:150");
    let server = Server::start_under(limited, &[Wire::WebSocket], &[]);
    let process = server.process();
    let told = process.wait_for("room", |line| {
        let event = line.event("room")?;
        let number = |name: &str| event[name].as_u64();
        Some([
            number("open_files_before")?,
            number("open_files")?,
            number("connections")?,
        ])
    });
    // Some are for health checks.
    assert_eq!(told, [100, 150, 87]);
    process.wait_logged("what to do", |line| {
        line.text.contains("LimitNOFILE").then_some(())
    });
}

/// Behind a proxy all come from one address, and nobody was told why the last of them were refused.
#[test]
fn a_share_of_the_room_that_is_used_up_is_told_once() {
    let server = Server::start(&[Wire::Line], &["--max-connections", "200"]);
    let addr = server.addr(Wire::Line);
    let crowd: Vec<_> = (0..195).map(|_| support::raw::knock(addr)).collect();
    let process = server.process();
    process.wait_for("the last one's refusal", |line| {
        let last = crowd.last()?.local_addr().ok()?;
        let event = line.event("rejected")?;
        (event["peer"] == last.to_string()).then_some(())
    });
    process.wait_logged("what to do", |line| {
        let parts = ["127.0.0.1", " 188 ", " 200", "share_per_address"];
        let is_told = parts.iter().all(|part| line.text.contains(part));
        is_told.then_some(())
    });
    let log = process.stderr();
    assert_eq!(log.matches("share_per_address").count(), 1, "{log}");
}

#[test]
fn f29_what_keeps_connect_away_is_told_apart() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = closed.local_addr().unwrap();
    drop(closed);
    let answering = |answer: &'static str| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            use std::io::{Read, Write};
            let (mut peer, _) = listener.accept().unwrap();
            let _request = peer.read(&mut [0; 4096]);
            let _gone = peer.write_all(answer.as_bytes());
        });
        address
    };
    let denied = answering("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    let busy = answering(
        "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
    );
    let secure = answering("\x15\x03\x03\x00\x02\x02\x46");
    for (url, name, status, code) in [
        ("ws://nohost.invalid".to_owned(), "name_not_found", None, 3),
        (format!("ws://{refused}"), "connection_refused", None, 3),
        (format!("ws://{denied}"), "http_status", Some(401), 1),
        (format!("ws://{busy}"), "http_status", Some(503), 1),
        (format!("ws://{secure}"), "not_websocket", None, 1),
    ] {
        let mut client = program::start(&["connect", &url, "--no-reconnect", "--json"]);
        assert_eq!(client.wait_exit().code(), Some(code), "{url}");
        let failed = client.wait_for("failed", |line| line.event("failed").cloned());
        assert_eq!(failed["failure"], name, "{failed}");
        assert_eq!(failed["status"].as_u64(), status, "{failed}");
        let summary = client.wait_for("summary", |line| line.event("summary").cloned());
        let key = status.map_or_else(|| name.to_owned(), |status| format!("{name}_{status}"));
        assert_eq!(summary["failed"], 1, "{summary}");
        assert_eq!(summary["failures"][key], 1, "{summary}");
        if name == "not_websocket" {
            assert!(
                failed["error"].as_str().unwrap().contains("tls"),
                "{failed}"
            );
        }
    }
}

#[test]
fn a_client_whose_attempts_are_used_up_exits_as_one_that_reached_nobody() {
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
    let url = format!("tcp://{}", refused.unwrap());
    for (flag, value, why, least) in [
        ("--max-attempts", "2", "max_attempts", 2),
        ("--give-up-after", "20ms", "give_up_after", 1),
    ] {
        let mut client = program::start(&["connect", &url, "--json", flag, value]);
        assert_eq!(client.wait_exit().code(), Some(3), "{flag}");
        let gave_up = client.wait_for("gave_up", |line| line.event("gave_up").cloned());
        assert_eq!(gave_up["why"], why, "{gave_up}");
        let summary = client.wait_for("summary", |line| line.event("summary").cloned());
        assert_eq!(summary["failed"], least, "{summary}");
    }
}

/// Its name is never looked up here, and the password is never printed.
#[test]
fn a_proxy_of_the_command_line_or_the_environment_is_told_where_to_go() {
    use std::io::{Read, Write};

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let proxy = format!("http://me:secret@{}", listener.local_addr().unwrap());
    let target = "ws://server.invalid:9001";
    for with_flag in [true, false] {
        let mut command = program::heartwheel(&["connect", target, "--no-reconnect", "--json"]);
        command.env_remove("ws_proxy").env_remove("no_proxy");
        match with_flag {
            true => command
                .args(["--proxy", &proxy])
                .env("ws_proxy", "http://other"),
            false => command
                .env("ws_proxy", &proxy)
                .env("no_proxy", "other.invalid"),
        };
        let mut client = Process::spawn(&mut command, "");
        let (mut peer, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            peer.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        assert!(
            head.starts_with("CONNECT server.invalid:9001 HTTP/1.1\r\n"),
            "{head}"
        );
        peer.write_all(b"HTTP/1.1 407 Who are you\r\n\r\n").unwrap();
        assert_eq!(client.wait_exit().code(), Some(3));
        let failed = client.wait_for("failed", |line| line.event("failed").cloned());
        assert_eq!(failed["failure"], "proxy_refused", "{failed}");
        assert_eq!(failed["status"], 407, "{failed}");
        let words = format!("{} {}", client.stdout(), client.stderr());
        assert!(!words.contains("secret"), "{words}");
    }
    let mut client = program::start(&["connect", target, "--proxy", "https://me:secret@proxy"]);
    assert_eq!(client.wait_exit().code(), Some(2));
    assert!(client.stderr().contains("TLS"), "{}", client.stderr());
    assert!(!client.stderr().contains("secret"), "{}", client.stderr());
}

#[test]
fn lines_that_cannot_be_sent_are_told_of_once_and_counted() {
    let server = Server::start(&[Wire::Line], &[]);
    let mut client = program::start(&["connect", &server.url(Wire::Line), "--json"]);
    for _ in 0..1_000 {
        client.input().say_bytes(b"\xff");
    }
    client.input().say("over");
    client.wait_for("its echo", |line| line.event("message").map(drop));
    client.signal(Signal::TERM);
    assert_eq!(client.wait_exit().code(), Some(0));
    let stderr = client.stderr();
    let complaints: Vec<_> = stderr
        .lines()
        .filter(|line| line.starts_with("not sent"))
        .collect();
    assert_eq!(complaints[0], "not sent: line is not utf-8");
    // A second each, and one at the end.
    assert!((2..30).contains(&complaints.len()), "{complaints:?}");
    let more = complaints
        .iter()
        .filter_map(|line| line.split(' ').nth(2)?.parse::<u64>().ok());
    assert_eq!(1 + more.sum::<u64>(), 1_000, "{complaints:?}");
}

#[test]
fn a_file_that_may_grow_no_more_does_not_end_serve() {
    let place = Place::new();
    let log = place.path().join("log");
    let mut limited = Command::new("sh");
    let redirected = r#"ulimit -f 1; log=$1; shift; exec "$@" 2>"$log""#;
    limited.args(["-c", redirected, "sh"]).arg(&log);
    let server = Server::start_under(limited, &[Wire::Line], &["--log-level", "debug"]);
    let port = server.port(Wire::Line);
    let full = Instant::now() + PATIENCE;
    let is_full = || std::fs::metadata(&log).is_ok_and(|log| log.len() >= 512);
    let mut count = 0;
    // A line in the log for each, and some more when there is no room for them.
    while !is_full() || count < 50 {
        assert!(Instant::now() < full, "{count} connections");
        let peer = RawPeer::connect(Wire::Line, port);
        server.wait_open(peer.local_port());
        count += 1;
    }
    assert_eq!(server.finish()["connections"], count);
}

#[test]
fn connect_ends_when_whoever_reads_its_output_has_left() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let server = Server::start(&[Wire::WebSocket], &[]);
    let mut command =
        program::heartwheel(&["connect", &server.url(Wire::WebSocket), "--interval=50ms"]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut client = command.spawn().unwrap();
    // As `sed /open/q`. Earlier its handshake would be cut, which is no goodbye.
    let lines = BufReader::new(client.stdout.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    assert!(lines.any(|line| line.starts_with("open")));
    drop(lines);
    // Its input is at an end, and nothing else would end it.
    let (_, record) = server.wait_closed();
    record.assert_end("peer_closed", true);
    assert_eq!(client.wait().unwrap().code(), Some(0));
}

#[test]
fn an_attempt_that_we_end_ourselves_has_not_failed() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}", silent.local_addr().unwrap());
    let mut client = program::start(&["connect", &url, "--json"]);
    // The opening handshake is under way.
    let _unanswered = silent.accept().unwrap();
    client.signal(Signal::INT);
    assert_eq!(client.wait_exit().code(), Some(0));
    let summary = client.wait_for("summary", |line| line.event("summary").cloned());
    assert_eq!(summary["failed"], 0, "{summary}");
    assert!(client.find(|line| line.event("failed").map(drop)).is_none());
}

#[test]
#[cfg(target_os = "linux")]
fn lines_keep_to_a_terminal_that_is_resized() {
    use std::fs::File;
    use std::io::Read;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{Winsize, tcsetwinsize};

    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let resize = |columns| {
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&terminal, size).unwrap();
    };
    resize(200);
    let path = ptsname(&terminal, Vec::new())
        .unwrap()
        .into_string()
        .unwrap();
    let line = || File::options().read(true).write(true).open(&path).unwrap();
    let server = Server::start(&[Wire::Line], &[]);
    let mut command = program::heartwheel(&["connect", &server.url(Wire::Line)]);
    command.stdin(line()).stdout(line()).stderr(line());
    let mut client = command.spawn().unwrap();
    drop(command);
    let (mut shown, mut buffer) = (Vec::new(), [0; 1024]);
    // The client must know it, too.
    while !String::from_utf8_lossy(&shown).contains("\nopen ") {
        let count = rustix::io::read(&terminal, &mut buffer).unwrap();
        shown.extend_from_slice(&buffer[..count]);
    }
    resize(70);
    kill_process(Pid::from_child(&client), Signal::INT).unwrap();
    assert_eq!(client.wait().unwrap().code(), Some(0));
    // At its end a terminal fails instead.
    let _hung_up = File::from(terminal).read_to_end(&mut shown);
    let shown = String::from_utf8(shown).unwrap();
    let ends: Vec<_> = shown
        .lines()
        .skip_while(|line| !line.starts_with("closed"))
        .collect();
    assert!(ends.len() > 4, "{shown}");
    assert!(
        ends.iter().all(|line| line.trim_end().len() <= 70),
        "{shown}"
    );
}

// Signals.

#[test]
fn f30_two_connections_are_let_go_at_once_at_sigterm() {
    drains_at_once(Signal::TERM);
}

#[test]
fn f30_two_connections_are_let_go_at_once_at_ctrl_c() {
    drains_at_once(Signal::INT);
}

#[test]
fn a_terminal_that_is_closed_ends_serve_in_good_order() {
    drains_at_once(Signal::HUP);
}

#[test]
fn a_hangup_that_is_ignored_at_the_start_stays_so() {
    let mut nohup = Command::new("nohup");
    nohup.env("LC_ALL", "C");
    let server = Server::start_under(nohup, &[Wire::Line], &[]);
    let port = server.port(Wire::Line);
    server.process().signal(Signal::HUP);
    let peer = RawPeer::connect(Wire::Line, port);
    server.wait_open(peer.local_port());
    drop(peer);
    assert_eq!(server.finish()["connections"], 1);
}

/// It ends the wait of a loop that has nothing to do; so does a stop.
#[test]
fn a_signal_that_means_nothing_ends_no_loop() {
    let server = Server::start(&[Wire::Line], &["--interval", "off", "--timeout", "off"]);
    let mut peer = RawPeer::connect(Wire::Line, server.port(Wire::Line));
    for round in 0..5 {
        let word = format!("round {round}");
        peer.send_text(&word);
        assert_eq!(peer.next(), Arrival::Message(word.into_bytes()));
        server.process().signal(Signal::XFSZ);
        server.process().stop();
        server.process().resume();
    }
    drop(peer);
    assert_eq!(server.finish()["connections"], 1);
}

#[test]
fn a_hangup_is_no_second_signal() {
    let mut server = Server::start(&[Wire::WebSocket], &["--close-timeout", "50s"]);
    let mut peer = RawPeer::connect(Wire::WebSocket, server.port(Wire::WebSocket));
    server.wait_open(peer.local_port());
    server.process().signal(Signal::HUP);
    assert_eq!(peer.next(), Arrival::Close(Some(1001)));
    // As from the kernel, after the shell.
    server.process().signal(Signal::HUP);
    peer.send_close(1001);
    assert_eq!(peer.next(), Arrival::Eof);
    drop(peer);
    assert_eq!(server.process_mut().wait_exit().code(), Some(0));
}

#[test]
fn connect_says_goodbye_when_its_terminal_is_closed() {
    let server = Server::start(&[Wire::WebSocket], &[]);
    let mut client = program::start(&["connect", &server.url(Wire::WebSocket), "--json"]);
    client.wait_for("open", |line| line.event("open").map(drop));
    client.signal(Signal::HUP);
    assert_eq!(client.wait_exit().code(), Some(0));
    client.wait_for("summary", |line| line.event("summary").map(drop));
    server.wait_closed().1.assert_end("peer_closed", true);
}

#[test]
fn a_second_signal_exits_with_one_at_once() {
    let mut server = Server::start(&[Wire::WebSocket], &["--close-timeout", "50s"]);
    let mut peer = RawPeer::connect(Wire::WebSocket, server.port(Wire::WebSocket));
    server.wait_open(peer.local_port());
    server.process().signal(Signal::TERM);
    assert_eq!(peer.next(), Arrival::Close(Some(1001)));
    // Its Close is never answered, so the drain cannot be over.
    server.process().signal(Signal::TERM);
    let again = Instant::now();
    assert_eq!(server.process_mut().wait_exit().code(), Some(1));
    assert!(
        again.elapsed() < Duration::from_secs(2),
        "{:?}",
        again.elapsed()
    );
}

#[test]
fn a_peer_that_ignores_the_goodbye_does_not_hold_up_the_exit() {
    let mut server = Server::start(&[Wire::WebSocket], &["--close-timeout", "200ms"]);
    let mut peer = RawPeer::connect(Wire::WebSocket, server.port(Wire::WebSocket));
    server.wait_open(peer.local_port());
    server.process().signal(Signal::TERM);
    assert_eq!(peer.next(), Arrival::Close(Some(1001)));
    let record = server.wait_closed_from(peer.local_port());
    record.assert_end("drain", false);
    assert_eq!(server.process_mut().wait_exit().code(), Some(0));
}

#[test]
fn a_server_that_drains_takes_no_new_connections() {
    let server = Server::start(
        &[Wire::WebSocket],
        &["--close-timeout", "50s", "--drain", "50s"],
    );
    let port = server.port(Wire::WebSocket);
    let mut peer = RawPeer::connect(Wire::WebSocket, port);
    server.wait_open(peer.local_port());
    server.process().signal(Signal::TERM);
    assert_eq!(peer.next(), Arrival::Close(Some(1001)));
    // Whether it is refused by the kernel or by the server: it does not open.
    if let Ok(mut late) = TcpStream::connect(("127.0.0.1", port)) {
        use std::io::{Read, Write};
        late.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = Vec::new();
        let _reset = late.write_all(&support::bytes::upgrade_request("/", ""));
        let _reset = late.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 503 "),
            "{answer}"
        );
    }
}

/// Drains a server with a peer on each wire that says goodbye in its turn.
fn drains_at_once(signal: Signal) {
    let wires = [Wire::WebSocket, Wire::Line];
    let mut server = Server::start(&wires, &[]);
    let mut peers = wires.map(|wire| RawPeer::connect(wire, server.port(wire)));
    for peer in &peers {
        server.wait_open(peer.local_port());
    }
    let [websocket, line] = &mut peers;
    server.process().signal(signal);
    let signalled = Instant::now();
    assert_eq!(websocket.next_answering(), Arrival::Close(Some(1001)));
    websocket.send_close(1001);
    assert_eq!(websocket.next(), Arrival::Eof);
    assert_eq!(line.next_answering(), Arrival::Eof);
    let ports = [websocket.local_port(), line.local_port()];
    // Both ends are seen, and the line peer hangs up.
    drop(peers);
    let records: [Record; 2] = ports.map(|port| server.wait_closed_from(port));
    for record in &records {
        record.assert_end("drain", true);
    }
    assert_eq!(records[0].count("code"), 1001, "{}", records[0].0);
    assert_eq!(server.process_mut().wait_exit().code(), Some(0));
    // Far from the window of 8 s: two connections take no noticeable time.
    assert!(
        signalled.elapsed() < Duration::from_secs(2),
        "{:?}",
        signalled.elapsed()
    );
}

fn run(args: &[&str]) -> (ExitStatus, String, String) {
    let mut process = program::start(args);
    process.input().end();
    let status = process.wait_exit();
    (status, process.stdout(), process.stderr())
}

/// Expects an exit with this code and one line that names all these parts.
fn refuses(args: &[&str], code: i32, parts: &[&str]) {
    assert_refusal(program::start(args), code, parts);
}

fn assert_refusal(mut process: Process, code: i32, parts: &[&str]) {
    let status = process.wait_exit();
    let stderr = process.stderr();
    let shown = process.transcript();
    assert_eq!(status.code(), Some(code), "{shown}");
    assert_eq!(stderr.lines().count(), 1, "one line: {shown}");
    assert!(!stderr.contains("panicked"), "{shown}");
    for part in parts {
        assert!(stderr.contains(part), "names no {part:?}: {shown}");
    }
}

fn helps(args: &[&str], parts: &[&str]) {
    let (status, stdout, _) = run(args);
    assert!(status.success());
    for part in parts {
        assert!(
            stdout.contains(part),
            "{args:?} names no {part:?}:\n{stdout}"
        );
    }
}
