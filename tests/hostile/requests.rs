//! Requests that mean one thing to us and another to a proxy in front of us: whatever they try, one
//! answer comes and nothing behind the first head is taken for a request.

use std::thread;

use crate::MIB;
use crate::attacker::{only_status, read_to_end, write, write_until_ended};
use crate::support::Wire::WebSocket;
use crate::support::bytes::{unmasked_frame, upgrade_request};
use crate::victim::{Ended, Victim};

/// A request that somebody tries to hide behind another one.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// Header lines added to an upgrade that would be sound without them.
const UPGRADES: [(&str, u16); 17] = [
    ("Content-Length: 5\r\n", 400),
    ("Content-Length: 0\r\nContent-Length: 5\r\n", 400),
    ("Content-Length: 0, 5\r\n", 400),
    ("Content-Length: +5\r\n", 400),
    ("Content-Length: 0x5\r\n", 400),
    ("Content-Length:\r\n", 400),
    ("Transfer-Encoding: chunked\r\n", 400),
    ("Transfer-Encoding: identity\r\n", 400),
    ("Transfer-Encoding:\x0bchunked\r\n", 400),
    ("Content-Length: 0\r\nTransfer-Encoding: chunked\r\n", 400),
    ("Transfer-Encoding : chunked\r\n", 400),
    ("X-Folded: a\r\n Transfer-Encoding: chunked\r\n", 400),
    ("X-Bare: a\nTransfer-Encoding: chunked\r\n", 400),
    ("X-Bare: a\nX-More: b\r\n", 400),
    ("X-Return: a\rContent-Length: 5\r\n", 400),
    ("X-Nul: a\0b\r\n", 400),
    ("Host: b\r\n", 400),
];

/// Whole heads that are no sound upgrade.
const HEADS: [(&str, u16); 13] = [
    (
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 8193\r\n\r\n",
        413,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        411,
    ),
    (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("GET / HTTP/1.1\nHost: a\n\n", 400),
    ("GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    ("GET /\r\n\r\n", 400),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 400),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("GET / HTTP/1.1\r\n: a\r\n\r\n", 400),
    ("\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03", 400),
];

#[test]
fn no_second_request_is_smuggled_behind_a_first_one() {
    let sound = upgrade_request("/", "");
    let line_end = sound.windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
    let (request_line, rest) = sound.split_at(line_end);
    let mut cases: Vec<(Vec<u8>, u16)> = UPGRADES
        .iter()
        .map(|&(lines, status)| ([request_line, lines.as_bytes(), rest].concat(), status))
        .collect();
    cases.extend(HEADS.iter().map(|&(head, status)| (head.into(), status)));

    Victim::start(&[WebSocket], &[]).withstands(4 * MIB, |victim| {
        for (head, status) in &cases {
            let stream = victim.dial(WebSocket);
            write(&stream, &[head, HIDDEN.as_bytes()].concat());
            let response = read_to_end(&stream);
            let shown = String::from_utf8_lossy(head);
            assert_eq!(only_status(&response), *status, "{shown:?}");
            let end = victim.end_without(stream);
            match *status {
                411 | 413 => end.assert_answered(*status),
                _ => end.assert_rejected("protocol_error"),
            }
        }
    });
}

#[test]
fn a_request_behind_an_upgrade_is_a_broken_frame() {
    Victim::start(&[WebSocket], &[]).withstands(4 * MIB, |victim| {
        let mut request = upgrade_request("/", "");
        // Without a body, as a proxy may add it.
        let end = request.len() - 2;
        request.splice(end..end, *b"Content-Length: 0\r\n");
        request.extend(HIDDEN.as_bytes());
        let stream = victim.dial(WebSocket);
        write(&stream, &request);
        let response = read_to_end(&stream);
        assert_eq!(only_status(&response), 101);
        let head = response
            .windows(4)
            .position(|end| end == b"\r\n\r\n")
            .unwrap()
            + 4;
        let (first, payload) = unmasked_frame(&response[head..]).expect("a whole frame");
        assert_eq!(first, 0x88);
        assert_eq!(response[head..][payload][..2], 1002u16.to_be_bytes());
        victim
            .end_without(stream)
            .assert_closed(WebSocket, "protocol_error", 1002);
    });
}

#[test]
fn bodies_without_end_get_one_answer_and_pipelines_a_hundred() {
    let begins: [(&str, &[u8], u16, usize); 3] = [
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n\r\n",
            &[b'x'; 1_000],
            413,
            1,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"1\r\nx\r\n",
            411,
            1,
        ),
        ("", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 426, 100),
    ];
    Victim::start(&[WebSocket], &["--close-timeout", "500ms"]).withstands(4 * MIB, |victim| {
        thread::scope(|scope| {
            for (begin, more, status, most) in begins.iter().cycle().take(12) {
                scope.spawn(move || {
                    let stream = victim.dial(WebSocket);
                    write(&stream, begin.as_bytes());
                    write_until_ended(&stream, &more.repeat(2_000));
                    let answers = String::from_utf8(read_to_end(&stream)).unwrap();
                    let begin = format!("HTTP/1.1 {status} ");
                    let count = answers.matches(&begin).count();
                    assert_eq!(count, answers.matches("HTTP/1.").count(), "{answers}");
                    assert!((1..=*most).contains(&count), "{count} answers");
                    assert_eq!(answers.matches("Connection: close").count(), 1, "{answers}");
                });
            }
        });
        let ended = victim.ended(12);
        for (_, _, status, _) in begins {
            let is_it = |end: &&Ended| end.record.0["status"] == status;
            assert_eq!(ended.iter().filter(is_it).count(), 4, "{status}");
        }
        for end in ended {
            assert_eq!(end.record.0["event"], "answered", "{}", end.record.0);
        }
    });
}
