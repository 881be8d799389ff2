//! What the opening handshake comes to, and the plain requests before it.

use super::*;
use crate::proto::websocket::handshake::{ResponseError, accept_for};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: chat\r\n\r\n";

const NO_HEADERS: &[(&str, &str)] = &[];

/// A server before its handshake.
fn server() -> Bench {
    Bench::accepted(Wire::WebSocket, |_, _| {})
}

impl Bench {
    /// Asks for an upgrade, of which the application thinks so; returns what is answered.
    fn upgrade(
        &mut self,
        request: &str,
        door: Door<'_>,
        decide: impl FnOnce(&mut Self, &crate::proto::websocket::handshake::Upgrade<'_>),
    ) -> String {
        let asked = self
            .session
            .next_request(&mut self.env, secs(1), request.as_bytes(), door);
        if let Asked::Upgrade(request, _) = asked {
            let upgrade = self
                .session
                .check_upgrade(&mut self.env, secs(1), &request, door);
            if let Some(upgrade) = upgrade {
                decide(self, &upgrade);
            }
        } else {
            assert!(matches!(asked, Asked::Refused), "{asked:?}");
        }
        self.answers()
    }

    /// Asks plainly, and is answered so by the application; returns what is sent.
    fn request(&mut self, request: &str, answer: (u16, &[(&str, &str)], &[u8])) -> String {
        let (asked, door) = (request.as_bytes(), Door::default());
        match self
            .session
            .next_request(&mut self.env, secs(1), asked, door)
        {
            Asked::Plain(plain) => {
                assert_eq!(plain.len(), request.len());
                let sent = self.session.answer_request(
                    &mut self.env,
                    secs(1),
                    &plain,
                    door.is_leaving,
                    answer,
                );
                let is_sound = answer.0 < 600;
                assert_eq!(sent.is_ok(), is_sound);
            }
            other => assert!(matches!(other, Asked::Refused), "{other:?}"),
        }
        self.answers()
    }

    fn answers(&mut self) -> String {
        String::from_utf8(self.flush(secs(1))).unwrap()
    }
}

/// Opens without more ado.
fn accept(bench: &mut Bench, upgrade: &crate::proto::websocket::handshake::Upgrade<'_>) {
    let (session, env) = (&mut bench.session, &mut bench.env);
    let opened = session.accept_upgrade(env, secs(1), upgrade, Some("chat"), NO_HEADERS);
    assert_eq!(opened, Ok(()));
}

#[test]
fn a_request_to_upgrade_opens_or_is_told_why_not() {
    let open = Door::default();
    let leaving = Door {
        is_leaving: true,
        ..open
    };
    let wrong = UPGRADE.replace("Version: 13", "Version: 12");
    let broken = UPGRADE.replace("GET", "G\0T");
    for (request, door, status, cause) in [
        (UPGRADE, open, 101, None),
        (&wrong, open, 426, Some(Cause::ProtocolError)),
        (&broken, open, 400, Some(Cause::ProtocolError)),
        (UPGRADE, leaving, 503, Some(Cause::Refused)),
    ] {
        let mut bench = server();
        let answer = bench.upgrade(request, door, accept);
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        assert_eq!(bench.session.cause(), cause);
        let phase = cause.map_or(Phase::Open, |_| Phase::Closing);
        assert_eq!(bench.session.phase(), phase);
    }
}

#[test]
fn an_answer_of_the_application_that_cannot_be_sent_is_an_internal_error() {
    let mut bench = server();
    let answer = bench.upgrade(UPGRADE, Door::default(), |bench, upgrade| {
        let (session, env) = (&mut bench.session, &mut bench.env);
        let sent = session.accept_upgrade(env, secs(1), upgrade, Some("other"), NO_HEADERS);
        assert!(sent.is_err());
    });
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert_eq!(bench.session.reason(), "internal error");

    let mut bench = server();
    let answer = bench.upgrade(UPGRADE, Door::default(), |bench, _| {
        let (session, env) = (&mut bench.session, &mut bench.env);
        let sent = session.reject_upgrade(env, secs(1), 403, &[("a b", "")], "no\n");
        assert!(sent.is_err());
    });
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert_eq!(bench.session.cause(), Some(Cause::Refused));
}

#[test]
fn an_application_that_rejects_is_quoted() {
    let mut bench = server();
    let answer = bench.upgrade(UPGRADE, Door::default(), |bench, _| {
        let (session, env) = (&mut bench.session, &mut bench.env);
        let sent =
            session.reject_upgrade(env, secs(1), 403, &[("X-Why", "b")], "banned\nfor good\n");
        assert_eq!(sent, Ok(()));
    });
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("X-Why: b\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nbanned\nfor good\n"), "{answer}");
    assert_eq!(bench.session.reason(), "banned");
}

#[test]
fn what_the_application_decides_about_an_ended_session_changes_nothing() {
    let mut bench = server();
    let answer = bench.upgrade(UPGRADE, Door::default(), |bench, upgrade| {
        bench.close(secs(1), Cause::LocalClose);
        accept(bench, upgrade);
        let (session, env) = (&mut bench.session, &mut bench.env);
        let sent = session.reject_upgrade(env, secs(1), 403, NO_HEADERS, "");
        assert_eq!(sent, Ok(()));
    });
    assert_eq!(
        (answer.as_str(), bench.session.phase()),
        ("", Phase::Closed)
    );
}

#[test]
fn a_plain_answer_is_one_whatever_becomes_of_it() {
    let get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = get.replace("GET", "HEAD");
    let mut bench = server();
    let answer = bench.request(get, (200, NO_HEADERS, b"fine"));
    assert!(answer.ends_with("\r\n\r\nfine"), "{answer}");
    assert_eq!(bench.session.phase(), Phase::Handshaking, "it is kept");
    let answer = bench.request(&head, (200, NO_HEADERS, b"fine"));
    assert!(answer.contains("Content-Length: 4\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    // The application's fault; a HEAD has no body then either.
    let answer = bench.request(&head, (999, NO_HEADERS, b"fine"));
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    assert_eq!(
        (bench.session.answered(), bench.session.answers()),
        (Some(500), 3)
    );
    assert_eq!(bench.env.stats().answered, 3);
    assert_eq!(bench.session.cause(), Some(Cause::LocalClose));
}

#[test]
fn a_body_that_is_not_read_is_refused_by_an_answer() {
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut bench = server();
    let answer = bench.request(chunked, (200, NO_HEADERS, b""));
    assert!(answer.starts_with("HTTP/1.1 411 "), "{answer}");
    assert_eq!(
        (bench.session.answered(), bench.session.answers()),
        (Some(411), 1)
    );
}

#[test]
fn a_drain_tells_who_has_asked_and_nobody_else() {
    let (get, door) = ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", Door::default());
    let mut bench = server();
    bench.request(get, (200, NO_HEADERS, b""));
    bench.close(secs(2), Cause::Drain);
    assert_eq!(bench.answers(), "", "nothing was asked since");
    assert_eq!(bench.session.cause(), Some(Cause::Drain));

    let mut bench = server();
    let (session, env) = (&mut bench.session, &mut bench.env);
    let asked = session.next_request(env, secs(1), b"GET / HT", door);
    assert!(matches!(asked, Asked::Nothing(0)), "{asked:?}");
    bench.close(secs(2), Cause::Drain);
    let answer = bench.answers();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("Retry-After: 1\r\n"), "{answer}");

    let mut bench = Bench::dialed(Wire::WebSocket);
    let (session, env) = (&mut bench.session, &mut bench.env);
    session.handle_connected(env, secs(1), b"GET");
    bench.close(secs(2), Cause::Drain);
    assert_eq!(bench.session.phase(), Phase::Closed);
}

#[test]
fn a_server_that_refuses_is_told_from_one_that_is_none() {
    let key = accept_for([0; 16]);
    for (reply, cause) in [
        ("HTTP/1.1 403 No\r\n\r\n", Cause::Refused),
        ("HTTP/1.1 101 Yes\r\n\r\n", Cause::ProtocolError),
        ("SSH-2.0-OpenSSH_9.6\r\n", Cause::ProtocolError),
    ] {
        let mut bench = Bench::dialed(Wire::WebSocket);
        let (session, env) = (&mut bench.session, &mut bench.env);
        session.handle_connected(env, secs(1), b"GET");
        let none: [&str; 0] = [];
        let replied = session.next_response(env, secs(2), reply.as_bytes(), &key, &none);
        let Replied::Failed(error) = replied else {
            panic!("{replied:?}");
        };
        let is_status = matches!(error, ResponseError::Status { .. });
        assert_eq!(is_status, cause == Cause::Refused);
        assert_eq!(bench.session.cause(), Some(cause));
    }
}
