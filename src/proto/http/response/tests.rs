//! Heads of responses in, whole responses out.

use proptest::prelude::*;

use super::*;
use crate::proto::http::samples::{RESPONSE as LINES, head};

const NO_HEADERS: [(&str, &str); 0] = [];

fn parse(input: &[u8]) -> Result<Option<(Response<'_>, usize)>, HeadError> {
    Response::parse(input, &HeadLimits::default())
}

#[test]
fn a_head_has_a_status_and_fields() {
    let input = head(&LINES);
    let (response, _) = parse(&input).unwrap().unwrap();
    assert_eq!((response.status(), response.minor_version()), (101, 1));
    assert_eq!(response.header("UPGRADE"), Some(b"websocket".as_slice()));
    assert_eq!(response.headers().count(), 4);
}

#[test]
fn a_head_beyond_the_limits_is_refused() {
    let input = head(&LINES);
    let judge = |max_bytes, max_headers| {
        let limits = HeadLimits {
            max_bytes,
            max_headers,
        };
        Response::parse(&input, &limits).map(|found| found.is_some())
    };
    let len = input.len();
    assert_eq!(judge(len, 4), Ok(true));
    assert_eq!(
        judge(len - 1, 4),
        Err(HeadError::HeadTooLarge { limit: len - 1 })
    );
    assert_eq!(judge(len, 3), Err(HeadError::TooManyHeaders { limit: 3 }));
}

#[test]
fn what_is_not_http_is_refused_at_once() {
    for (answer, protocol) in [
        (&b"SSH-2.0-OpenSSH\r\n"[..], Foreign::Ssh),
        (b"\x15\x03\x01\x00\x02\x02\x46", Foreign::Tls),
    ] {
        let error = parse(answer).err();
        assert_eq!(error, Some(HeadError::Foreign(protocol)));
    }
    assert!(matches!(
        parse(b"HTTP/1.1 1x1 \r\n"),
        Err(HeadError::Malformed(_))
    ));
    assert!(matches!(
        parse(&head(&[LINES.as_slice(), &["A : b"]].concat())),
        Err(HeadError::Malformed(_))
    ));
}

#[test]
fn a_line_feed_alone_ends_no_line() {
    let input = head(&LINES);
    let feeds = (0..input.len()).filter(|&at| input[at] == b'\n');
    for at in feeds {
        let mut bare = input.clone();
        bare.remove(at - 1);
        let malformed = HeadError::Malformed("end of line");
        assert_eq!(parse(&bare).map(drop), Err(malformed), "at {at}");
    }
    let behind = [&input[..], b"\n\n"].concat();
    assert!(parse(&behind).unwrap().is_some(), "frames are no lines");
}

#[test]
fn a_head_fed_byte_by_byte_is_whole_at_its_last_byte() {
    let mut input = head(&LINES);
    let len = input.len();
    input.extend_from_slice(b"\x89\x00\r\n\r\n");
    for cut in 0..len {
        assert!(parse(&input[..cut]).unwrap().is_none(), "cut at {cut}");
    }
    for cut in len..=input.len() {
        let (_, head_len) = parse(&input[..cut]).unwrap().unwrap();
        assert_eq!(head_len, len, "frames stay behind");
    }
}

#[test]
fn interim_responses_that_drip_are_read_once() {
    let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let limits = HeadLimits::default();
    let drip = |input: &[u8]| {
        let (mut progress, mut held) = (HeadProgress::default(), Vec::new());
        let mut most = 0;
        for byte in input {
            held.push(*byte);
            most = most.max(held.len());
            match Response::parse_more(&mut progress, &held, &limits) {
                Ok(None) => drop(held.drain(..progress.take_done())),
                Ok(Some((response, len))) => {
                    assert_eq!(len, held.len());
                    return (Some(Ok(response.status() == 101)), most);
                }
                Err(error) => return (Some(Err(error)), most),
            }
        }
        (None, most)
    };
    let (found, most) = drip(&[interim.repeat(100), head(&LINES)].concat());
    assert_eq!(found, Some(Ok(true)));
    assert_eq!(most, head(&LINES).len(), "what was read is gone");
    // However small the pieces, all of it counts.
    let (found, most) = drip(&interim.repeat(1_000));
    assert_eq!(found, Some(Err(HeadError::HeadTooLarge { limit: 8192 })));
    assert!(most <= interim.len());
    let whole = [interim.repeat(100), head(&LINES)].concat();
    let mut progress = HeadProgress::default();
    let (_, len) = Response::parse_more(&mut progress, &whole, &limits)
        .unwrap()
        .unwrap();
    assert_eq!(len, whole.len());
}

#[test]
fn s9110_5_3_a_field_with_a_single_value_is_sent_once() {
    let twice = |name: &str| {
        let headers = [(name, "a"), ("X", "b"), (&name.to_uppercase(), "c")];
        response(302, Persistence::Close, None, &headers, b"")
    };
    for name in ["Location", "Date", "Server", "Retry-After", "Content-Type"] {
        let repeated = InvalidHead::RepeatedHeader(name.to_uppercase());
        assert_eq!(twice(name), Err(repeated));
    }
    assert!(twice("Set-Cookie").is_ok());
}

#[test]
fn s9112_4_the_status_line_has_its_blank_without_a_reason() {
    let unnamed = response(599, Persistence::Close, None, &NO_HEADERS, b"").unwrap();
    assert!(unnamed.starts_with(b"HTTP/1.1 599 \r\n"));
}

#[test]
fn a_plain_response_is_final_and_cannot_be_split() {
    let fine = response(
        200,
        Persistence::Close,
        None,
        &[("Content-Type", "text/plain")],
        b"fine",
    )
    .unwrap();
    let expected = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\
        Content-Type: text/plain\r\n\r\nfine";
    assert_eq!(String::from_utf8(fine).unwrap(), expected);
    let upgrade = response(
        426,
        Persistence::Close,
        None,
        &[("upgrade", "websocket")],
        b"",
    )
    .unwrap();
    let expected = "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\
        Connection: close, Upgrade\r\nupgrade: websocket\r\n\r\n";
    assert_eq!(String::from_utf8(upgrade).unwrap(), expected);
    for status in [204, 304] {
        let empty = String::from_utf8(
            response(status, Persistence::Close, None, &NO_HEADERS, b"x").unwrap(),
        )
        .unwrap();
        assert!(!empty.contains("Content-Length") && empty.ends_with("close\r\n\r\n"));
    }
    for status in [0, 101, 199, 600] {
        assert_eq!(
            response(status, Persistence::Close, None, &NO_HEADERS, b""),
            Err(InvalidHead::Status(status))
        );
    }
    let split = response(
        200,
        Persistence::Close,
        None,
        &[("Location", "/\r\n\r\n<script>")],
        b"",
    );
    assert_eq!(split, Err(InvalidHead::HeaderValue("Location".to_owned())));
    for value in ["a\rb", "a\nb", "a\r\n b", "a\0b"] {
        let sent = response(200, Persistence::Close, None, &[("X", value)], b"");
        assert_eq!(sent, Err(InvalidHead::HeaderValue("X".into())), "{value:?}");
    }
    for name in RESERVED_IN_FINAL {
        let reserved = InvalidHead::ReservedHeader(name.to_lowercase());
        assert_eq!(
            response(
                200,
                Persistence::Close,
                None,
                &[(name.to_lowercase(), "x")],
                b""
            ),
            Err(reserved)
        );
    }
}

#[test]
fn a_response_bears_the_date_that_it_is_given_or_one_of_its_own() {
    let date = HttpDate::from_unix(784_111_777);
    let given = [("date", "Sat, 05 Nov 1994 08:49:37 GMT")];
    let dates = |response: Vec<u8>| {
        let text = String::from_utf8(response).unwrap();
        let lines = text.lines().filter_map(|line| line.strip_prefix("Date: "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let date = date.as_ref();
    for dated in [
        response(200, Persistence::Close, date, &NO_HEADERS, b"").unwrap(),
        response(503, Persistence::Close, date, &[("Retry-After", "1")], b"").unwrap(),
        error_response(&HeadError::Host, date),
    ] {
        assert_eq!(dates(dated), ["Sun, 06 Nov 1994 08:49:37 GMT"]);
    }
    for undated in [
        response(200, Persistence::Close, None, &NO_HEADERS, b"").unwrap(),
        response(200, Persistence::Close, date, &given, b"").unwrap(),
        error_response(&HeadError::Host, None),
    ] {
        assert!(dates(undated).is_empty());
    }
}

#[test]
fn every_error_is_answered_by_its_status_and_names_its_rule() {
    let limit = 7;
    for (error, first_line) in [
        (HeadError::Malformed("request line"), "400 Bad Request"),
        (HeadError::Host, "400 Bad Request"),
        (HeadError::TargetTooLong { limit }, "414 URI Too Long"),
        (
            HeadError::HeadTooLarge { limit },
            "431 Request Header Fields Too Large",
        ),
        (
            HeadError::TooManyHeaders { limit },
            "431 Request Header Fields Too Large",
        ),
    ] {
        let answer = String::from_utf8(error_response(&error, None)).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with(&format!("HTTP/1.1 {first_line}\r\n")),
            "{head}"
        );
        assert_eq!(body, format!("{error}\n"));
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())));
        assert!(head.contains("\r\nConnection: close\r\n"));
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(input in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(Some((_, len))) = parse(&input) {
            prop_assert!(len <= input.len());
        }
    }
}
