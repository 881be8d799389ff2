//! HTTP heads of the opening handshake: received ones cut anywhere, and our own read back.

use std::fmt::Debug;
use std::str;

use arbitrary::{Arbitrary, Unstructured};
use heartwheel::proto::http::{self, HeadLimits, HttpDate, InvalidHead, Persistence, Request};
use heartwheel::proto::websocket::handshake::{
    InvalidHandshake, Upgrade, accept_for, accept_response, error_response, parse_response, request,
};
use tungstenite::handshake::derive_accept_key;

use super::dice::Dice;
use super::exchange::check_exchange;
use super::pairs::check_pairs;

/// Arbitrary bytes as a request, or as what to build one from.
pub fn handshake_server(data: &[u8]) {
    let Some(([how, seed], rest)) = data.split_first_chunk() else {
        return;
    };
    if *how == BUILT {
        if let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(rest)) {
            check_own_request(&case);
        }
    } else {
        check_request(rest, &limits(*how), u64::from(*seed));
    }
}

/// Arbitrary bytes as a response, or as what to build one from.
pub fn handshake_client(data: &[u8]) {
    let Some(([how, seed], rest)) = data.split_first_chunk() else {
        return;
    };
    if *how == BUILT {
        if let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(rest)) {
            check_own_responses(&case);
        }
    } else {
        check_response(rest, &limits(*how), u64::from(*seed));
    }
}

/// Says that the rest are the parts of a head of ours.
const BUILT: u8 = b'B';

fn limits(how: u8) -> HeadLimits {
    let bytes = [8 * 1024, 512, 256, 100, 18, 1, 0, usize::MAX];
    HeadLimits {
        max_bytes: bytes[usize::from(how & 7)],
        max_headers: [64, 8, 2, 0][usize::from(how >> 3 & 3)],
    }
}

/// Large enough for whatever we build here.
const ROOMY: HeadLimits = HeadLimits {
    max_bytes: 1024 * 1024,
    max_headers: 1_000,
};

fn check_request(input: &[u8], limits: &HeadLimits, seed: u64) {
    let parse = |input: &[u8]| {
        Request::parse(input, limits).map(|found| found.map(|(request, len)| (seen(&request), len)))
    };
    check_cuts(input, limits, seed, parse);
    check_exchange(input, limits, seed);
    let Ok(Some((request, len))) = Request::parse(input, limits) else {
        return;
    };
    assert!(request.headers().count() <= limits.max_headers);
    assert_sound(request.headers());
    let first_line = check_lines(&input[..len], request.headers());
    let words: Vec<&[u8]> = first_line.split(|&byte| byte == b' ').collect();
    let [method, target, b"HTTP/1.0" | b"HTTP/1.1"] = words[..] else {
        panic!("{}", first_line.escape_ascii());
    };
    assert_eq!(method, request.method().as_bytes());
    assert_eq!(target, request.target().as_bytes());
    assert!(is_token(request.method()));
    assert!(
        !request
            .target()
            .chars()
            .any(|c| c.is_ascii_control() || c == ' ')
    );
    assert!(!request.path().is_empty() && !request.path().contains('?'));
    if let Some(query) = request.query() {
        assert!(request.target().ends_with(query));
    }
    check_pairs(&request);
    match Upgrade::of(&request) {
        Ok(upgrade) => {
            assert!(first_line.ends_with(b" HTTP/1.1"));
            check_upgrade(&request, &upgrade);
        }
        Err(error) => check_answer(&error_response(&error, None), error.status()),
    }
}

/// A request that may be upgraded has everything that RFC 6455, section 4.2.1, asks for, and our
/// answer is one that a client accepts.
fn check_upgrade(request: &Request<'_>, upgrade: &Upgrade<'_>) {
    let values = |name: &str| values(request.headers(), name);
    assert_eq!(request.method(), "GET");
    assert!(matches!(values("host")[..], [host] if !host.is_empty()));
    assert!(names(&values("upgrade"), "websocket") && names(&values("connection"), "upgrade"));
    assert_eq!(values("sec-websocket-version"), [b"13"]);
    let [key] = values("sec-websocket-key")[..] else {
        panic!("one key");
    };
    assert_eq!(key.len(), 24, "16 bytes in base64");
    assert!(request.header("transfer-encoding").is_none());
    let offered = upgrade.subprotocols();
    for (place, name) in offered.iter().enumerate() {
        assert!(is_token(name) && !offered[..place].contains(name));
    }
    let expected = derive_accept_key(key);
    let expected: &[u8; 28] = expected.as_bytes().try_into().expect("28 characters");
    for chosen in offered.iter().copied().map(Some).chain([None]) {
        let none: [(&str, &str); 0] = [];
        let response =
            accept_response(upgrade, chosen, None, &none).expect("an offered subprotocol");
        let (parsed, len) = parse_response(&response, expected, offered, &ROOMY)
            .expect("our answer is accepted")
            .expect("our answer is whole");
        assert_eq!((parsed.subprotocol(), len), (chosen, response.len()));
    }
}

/// An error response is whole, says its status and gives nothing back that could be markup or a line.
fn check_answer(response: &[u8], status: u16) {
    assert!(matches!(status, 400 | 405 | 426), "{status}");
    assert_eq!(status_of(response), status);
}

/// Reads back the status of a response of ours that is not an acceptance.
fn status_of(response: &[u8]) -> u16 {
    use heartwheel::proto::websocket::handshake::ResponseError;

    let none: [&str; 0] = [];
    match parse_response(response, &[0; 28], &none, &ROOMY) {
        Err(ResponseError::Status { code, .. }) => code,
        other => panic!("no status: {other:?}"),
    }
}

fn check_response(input: &[u8], limits: &HeadLimits, seed: u64) {
    let offered = ["chat", "v2.chat"];
    // What the sample key of RFC 6455, section 1.3, gives.
    let expected = accept_for(*b"the sample nonce");
    let parse = |input: &[u8]| {
        parse_response(input, &expected, &offered, limits).map(|found| {
            found.map(|(response, len)| {
                let chosen = response.subprotocol().map(str::to_owned);
                ((chosen, lines(response.response().headers())), len)
            })
        })
    };
    check_cuts(input, limits, seed, parse);
    let Ok(Some((response, len))) = parse_response(input, &expected, &offered, limits) else {
        return;
    };
    assert!(response.response().headers().count() <= limits.max_headers);
    assert_sound(response.response().headers());
    let values = |name: &str| values(response.response().headers(), name);
    assert_eq!(
        values("upgrade").concat().to_ascii_lowercase(),
        b"websocket"
    );
    assert!(names(&values("connection"), "upgrade"));
    assert_eq!(values("sec-websocket-accept"), [expected.as_slice()]);
    assert!(
        values("sec-websocket-extensions")
            .concat()
            .iter()
            .all(|byte| b", ".contains(byte))
    );
    let chosen = response.subprotocol();
    assert!(chosen.is_none_or(|name| offered.contains(&name)));
    let said: Vec<&[u8]> = chosen.iter().map(|name| name.as_bytes()).collect();
    assert_eq!(values("sec-websocket-protocol"), said);
    // Interim responses come before it, whole.
    let head = &input[..len];
    let ends = (4..len).filter(|&at| head[..at].ends_with(b"\r\n\r\n"));
    let start = ends.max().unwrap_or(0);
    // A line that begins with a blank goes on with the one before (RFC 9112, section 5.2).
    let mut head = head[start..].to_vec();
    for at in 0..head.len().saturating_sub(2) {
        if let [b'\r', b'\n', b' ' | b'\t'] = head[at..at + 3] {
            head[at..at + 2].fill(b' ');
        }
    }
    let first_line = check_lines(&head, response.response().headers());
    assert!(first_line.starts_with(b"HTTP/1.1 101"));
}

/// Reads a head line by line: its headers are those that were found. Returns its first line.
fn check_lines<'h, 'a>(
    head: &'h [u8],
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
) -> &'h [u8] {
    let head = head.strip_suffix(b"\n").expect("the last line ends");
    // Empty lines before the first are skipped (RFC 9112, section 2.2).
    let mut lines = head
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").expect("lines end with both bytes"))
        .skip_while(|line| line.is_empty());
    let first_line = lines.next().expect("a head has a line");
    for (name, value) in headers {
        let line = lines.next().expect("a header has a line");
        let (given, rest) = line.split_at(name.len());
        assert_eq!(given, name.as_bytes());
        let given = rest.strip_prefix(b":").expect("a colon follows the name");
        assert_eq!(given.trim_ascii(), value.trim_ascii());
    }
    assert_eq!(lines.collect::<Vec<_>>(), [b""], "a line that is no header");
    first_line
}

/// The values of all lines of that name.
fn values<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>, name: &str) -> Vec<&'a [u8]> {
    headers
        .filter(|(other, _)| other.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim_ascii())
        .collect()
}

/// Says whether a list that stands in these values names the token.
fn names(values: &[&[u8]], token: &str) -> bool {
    let list = values.join(&b","[..]);
    list.split(|&byte| byte == b',')
        .any(|element| element.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// However much of the input has come, the answer is the same, or that more is needed.
fn check_cuts<T: Debug + PartialEq, E: Debug + PartialEq>(
    input: &[u8],
    limits: &HeadLimits,
    seed: u64,
    parse: impl Fn(&[u8]) -> Result<Option<(T, usize)>, E>,
) {
    let whole = parse(input);
    let mut cuts: Vec<usize> = Vec::new();
    match &whole {
        Ok(None) => assert!(input.len() < limits.max_bytes.max(1), "no end in sight"),
        Ok(Some((_, len))) => {
            assert!(*len <= input.len().min(limits.max_bytes) && *len > 0);
            assert_eq!(parse(&input[..len - 1]), Ok(None), "whole before its end");
            cuts.push(*len);
        }
        Err(_) => {}
    }
    let mut dice = Dice::new(seed);
    if input.len() <= 48 {
        cuts.extend(0..=input.len());
    } else {
        cuts.extend((0..24).map(|_| dice.index(input.len() + 1)));
    }
    cuts.sort_unstable();
    let mut is_decided = false;
    for cut in cuts {
        let part = parse(&input[..cut]);
        if is_decided || !matches!(part, Ok(None)) {
            is_decided = true;
            assert_eq!(part, whole, "cut at {cut}");
        }
    }
}

type Lines = Vec<(String, Vec<u8>)>;

fn lines<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>) -> Lines {
    headers
        .map(|(name, value)| (name.to_owned(), value.to_vec()))
        .collect()
}

fn seen(request: &Request<'_>) -> (String, String, Lines) {
    let (method, target) = (request.method().to_owned(), request.target().to_owned());
    (method, target, lines(request.headers()))
}

/// No name that is not a token, no value with a control character gets out.
fn assert_sound<'a>(headers: impl Iterator<Item = (&'a str, &'a [u8])>) {
    for (name, value) in headers {
        assert!(is_token(name), "{name:?}");
        let is_control = |byte: &u8| byte.is_ascii_control() && *byte != b'\t';
        assert!(!value.iter().any(is_control), "{value:?}");
    }
}

fn is_token(text: &str) -> bool {
    let is_tchar = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !text.is_empty() && text.chars().all(is_tchar)
}

/// The parts of a head of ours; mostly sound ones.
#[derive(Arbitrary, Debug)]
struct Case<'a> {
    host: Text<'a>,
    path: Text<'a>,
    key: [u8; 16],
    subprotocols: Vec<Text<'a>>,
    headers: Vec<(Text<'a>, Text<'a>)>,
    status: u16,
    body: &'a [u8],
}

#[derive(Arbitrary, Debug)]
enum Text<'a> {
    /// Anything.
    Raw(&'a str),
    /// Characters of a token, one for each byte.
    Token(&'a [u8]),
    /// A path of such.
    Path(&'a [u8]),
    /// Visible characters and blanks.
    Value(&'a [u8]),
    /// Something that the handshake knows.
    Known(u8),
}

impl Text<'_> {
    fn text(&self) -> String {
        let of = |bytes: &[u8], alphabet: &[u8]| -> String {
            bytes
                .iter()
                .map(|&byte| char::from(alphabet[usize::from(byte) % alphabet.len()]))
                .collect()
        };
        match *self {
            Self::Raw(text) => text.to_owned(),
            Self::Token(bytes) => of(bytes, b"abcXYZ019-_.~!#$%&'*+^`|"),
            Self::Path(bytes) => format!("/{}", of(bytes, b"ab/?=&%2Fc.:@-~;,")),
            Self::Value(bytes) => of(bytes, b"a b\t,;=\"()/:@?\\{}[]Z9"),
            Self::Known(which) => KNOWN[usize::from(which) % KNOWN.len()].to_owned(),
        }
    }
}

const KNOWN: [&str; 16] = [
    "example.com",
    "127.0.0.1:9001",
    "[::1]:80",
    "/",
    "/chat?room=1",
    "Origin",
    "Cookie",
    "Host",
    "Upgrade",
    "Content-Length",
    "websocket",
    "chat",
    "0",
    "Expect",
    "Sec-WebSocket-Extensions",
    "permessage-deflate",
];

/// What `request` builds, `Request::parse` reads, and it may be upgraded.
fn check_own_request(case: &Case<'_>) {
    let (host, path) = (case.host.text(), case.path.text());
    let subprotocols: Vec<String> = case.subprotocols.iter().map(Text::text).collect();
    let headers = texts(&case.headers);
    let head = match request(&host, &path, case.key, &subprotocols, &headers) {
        Ok(head) => head,
        Err(InvalidHandshake::Subprotocol(given)) => {
            return assert!(subprotocols.contains(&given));
        }
        Err(InvalidHandshake::Head(error)) => {
            return check_refusal(&error, &host, &path, &headers);
        }
        Err(other) => panic!("{other:?}"),
    };
    let (parsed, len) = Request::parse(&head, &ROOMY)
        .expect("a sound request")
        .expect("a whole request");
    assert_eq!(
        (parsed.method(), parsed.target(), len),
        ("GET", &*path, head.len())
    );
    assert_eq!(parsed.header("host"), Some(host.as_bytes()));
    assert_ends_with(&lines(parsed.headers()), &headers);
    let upgrade = Upgrade::of(&parsed).expect("our own request may be upgraded");
    assert_eq!(upgrade.subprotocols(), subprotocols);
    check_upgrade(&parsed, &upgrade);
    let accept = accept_for(case.key);
    let chosen = subprotocols.first().map(String::as_str);
    if let Ok(response) = accept_response(&upgrade, chosen, None, &headers) {
        let (response, _) = parse_response(&response, &accept, &subprotocols, &ROOMY)
            .expect("our own answer is accepted")
            .expect("our own answer is whole");
        assert_eq!(response.subprotocol(), chosen);
        assert_ends_with(&lines(response.response().headers()), &headers);
    }
}

/// A head is refused for a reason.
fn check_refusal(error: &InvalidHead, host: &str, path: &str, headers: &[(String, String)]) {
    match error {
        InvalidHead::Host(given) => assert_eq!(given, host),
        InvalidHead::Path(given) => assert_eq!(given, path),
        InvalidHead::HeaderName(given) => {
            assert!(!is_token(given) && headers.iter().any(|(name, _)| name == given));
        }
        InvalidHead::HeaderValue(given) => assert!(headers.iter().any(|(name, value)| {
            name == given && value.chars().any(|c| c.is_ascii_control() && c != '\t')
        })),
        InvalidHead::ReservedHeader(given) => {
            assert!(is_token(given) && headers.iter().any(|(name, _)| name == given));
        }
        InvalidHead::RepeatedHeader(given) => {
            let is_it = |(name, _): &&(String, String)| name.eq_ignore_ascii_case(given);
            assert!(headers.iter().filter(is_it).count() > 1);
        }
        other => panic!("{other:?}"),
    }
}

/// What the server's side builds, `parse_response` reads.
fn check_own_responses(case: &Case<'_>) {
    let headers = texts(&case.headers);
    let date = HttpDate::from_unix(u64::from_ne_bytes(
        *case.key.first_chunk().expect("16 bytes"),
    ));
    match http::response(
        case.status,
        Persistence::Close,
        date.as_ref(),
        &headers,
        case.body,
    ) {
        Ok(response) => {
            assert_eq!(status_of(&response), case.status);
            // One date, of whoever gave it, where there is one.
            let head = response.split(|&byte| byte == b'\n');
            let head = head.take_while(|line| *line != b"\r");
            let dates = head.filter(|line| line.to_ascii_lowercase().starts_with(b"date:"));
            let is_given = headers
                .iter()
                .any(|(name, _)| name.eq_ignore_ascii_case("date"));
            assert_eq!(dates.count(), usize::from(is_given || date.is_some()));
            if !matches!(case.status, 204 | 205 | 304) {
                assert!(response.ends_with(case.body));
            }
        }
        Err(InvalidHead::Status(status)) => assert!(!(200..600).contains(&status)),
        Err(error) => check_refusal(&error, "", "", &headers),
    }
}

fn texts(headers: &[(Text<'_>, Text<'_>)]) -> Vec<(String, String)> {
    let of = |(name, value): &(Text<'_>, Text<'_>)| (name.text(), value.text());
    headers.iter().map(of).collect()
}

/// Headers of the caller's come last, in their order, less the blanks around their values.
fn assert_ends_with(found: &Lines, given: &[(String, String)]) {
    let found = &found[found.len() - given.len()..];
    for ((name, value), (given_name, given_value)) in found.iter().zip(given) {
        assert_eq!(name, given_name);
        let is_blank = |c: char| c == ' ' || c == '\t';
        assert_eq!(
            value.trim_ascii(),
            given_value.trim_matches(is_blank).as_bytes()
        );
    }
}
