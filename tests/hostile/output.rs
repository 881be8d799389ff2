//! What peers say must not reach the terminal of whoever watches.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use rustix::process::Signal;

use crate::attacker::{connect, read_to_end};
use crate::support::Wire::WebSocket;
use crate::support::bytes::{masked_frame, upgrade_request};
use crate::support::process::Process;
use crate::support::program::start;
use crate::victim::{Victim, assert_printable};
use crate::{MIB, WIRES};

/// Texts that a terminal would act on, or that would forge a line of a log.
const NASTY: [&str; 8] = [
    "\x1b[2J\x1b[31mred\x1b[0m",
    "\x1b]0;title\x07\x1b]52;c;aGk=\x07",
    "\u{9b}31m\u{85}\u{90}",
    "a\nclosed id=0.0 cause=none",
    "a\r\n{\"event\":\"closed\"}",
    "\0\x08\x7f\x0b\x0c",
    "\u{202e}txt.exe\u{2066}\u{200b}\u{feff}",
    "\" cause=none \\\" \\x1b[31m",
];

/// Says every nasty text in every place there is for one.
fn say_it_all(ports: [u16; 3]) {
    let [websocket, line, binary] = ports;
    for nasty in NASTY {
        let mut reason = nasty.to_owned();
        reason.truncate(123);
        let close = [&1000u16.to_be_bytes()[..], reason.as_bytes()].concat();
        let upgrade = upgrade_request("/", "");
        let with_header = |header: &str| {
            let end = upgrade.len() - 2;
            [&upgrade[..end], header.as_bytes(), b"\r\n\r\n"].concat()
        };
        for bytes in [
            [&upgrade[..], &masked_frame(0x88, &close)].concat(),
            [&upgrade[..], &masked_frame(0x81, nasty.as_bytes())].concat(),
            [&upgrade[..], &masked_frame(0x89, nasty.as_bytes())].concat(),
            // Broken, too, so that errors are told of.
            [&upgrade[..], &masked_frame(0xF1, nasty.as_bytes())].concat(),
            [
                &upgrade[..],
                &masked_frame(0x88, &[b"\x03\xe8\xff", nasty.as_bytes()].concat()),
            ]
            .concat(),
            with_header(&format!("X-Nasty: {nasty}")),
            with_header(&format!("X-{nasty}: a")),
            with_header(&format!("Origin: {nasty}")),
            with_header(&format!("Sec-WebSocket-Protocol: {nasty}")),
            with_header(&format!("Content-Length: {nasty}")),
            format!("GET /{nasty} HTTP/1.1\r\nHost: {nasty}\r\n\r\n").into_bytes(),
            format!("{nasty} / HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(),
            nasty.as_bytes().to_vec(),
        ] {
            say(websocket, &bytes);
        }
        say(line, format!("{nasty}\nPING\n{nasty}").as_bytes());
        say(line, &[nasty.as_bytes(), b"\xff\n"].concat());
        say(binary, &[b"\0\0\0\0\x10", nasty.as_bytes()].concat());
        say(binary, nasty.as_bytes());
    }
}

fn say(port: u16, bytes: &[u8]) {
    let mut stream: TcpStream = connect([127, 0, 0, 1].into(), port);
    stream.write_all(bytes).unwrap();
    // It may be over already.
    let _over = stream.shutdown(Shutdown::Write);
    read_to_end(&stream);
}

/// Connections that [`say_it_all`] makes.
const SAID: usize = NASTY.len() * 17;

#[test]
fn f46_control_characters_of_peers_never_reach_the_json_or_the_log() {
    Victim::start(&WIRES, &["--log-level", "trace"]).withstands(4 * MIB, |victim| {
        say_it_all(WIRES.map(|wire| victim.port(wire)));
        let ended = victim.ended(SAID);
        // And yet nothing of it is lost to a program.
        for nasty in NASTY {
            let told = ended.iter().filter(|end| end.record.0["reason"] == nasty);
            assert_eq!(told.count(), 1, "{nasty:?}");
        }
        // Every byte that is not printable is escaped in JSON, and so are letters beyond ASCII.
        assert!(victim.server().process().stdout().is_ascii());
    });
}

#[test]
fn f46_control_characters_of_peers_never_reach_the_terminal() {
    let mut process = start(&[
        "serve",
        "--log-level",
        "trace",
        "--ws",
        "127.0.0.1:0",
        "--tcp",
        "127.0.0.1:0",
        "--tcp-binary",
        "127.0.0.1:0",
    ]);
    let ports = ["ws", "tcp", "tcp+binary"].map(|wire| listening(&process, wire));
    say_it_all(ports);
    process.signal(Signal::TERM);
    assert!(process.wait_exit().success());
    let stdout = process.stdout();
    assert_printable(&stdout);
    assert_printable(&process.stderr());
    // It was told of, in one line each while there were few, and in its quotes.
    assert!(
        stdout.contains(r#"reason="\u{1b}[2J\u{1b}[31mred\u{1b}[0m""#),
        "{stdout}"
    );
    for line in stdout.lines().filter(|line| line.contains("cause=")) {
        let is_event = ["closed id=", "rejected peer="]
            .iter()
            .any(|begin| line.starts_with(begin));
        assert!(is_event, "{line}");
        assert!(!line.starts_with("closed id=0.0 cause=none"), "{line}");
    }
}

fn listening(process: &Process, wire: &str) -> u16 {
    let begin = format!("listening {wire} 127.0.0.1:");
    process.wait_for(&begin, |line| line.text.strip_prefix(&begin)?.parse().ok())
}

#[test]
fn f46_a_closing_reason_of_a_peer_is_told_whole_and_escaped() {
    Victim::start(&[WebSocket], &[]).withstands(4 * MIB, |victim| {
        let reason = "\x1b".repeat(123);
        let mut peer = victim.open(WebSocket);
        let body = [&1000u16.to_be_bytes()[..], reason.as_bytes()].concat();
        peer.write(&masked_frame(0x88, &body));
        peer.ignore_until_end();
        let end = victim.end_of(peer.stream());
        assert_eq!(end.record.0["reason"], reason.as_str());
    });
}
