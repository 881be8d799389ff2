//! What a request says in pairs: cookies and parameters. And the copy that outlives it.

use heartwheel::proto::http::{HeadLimits, Request};

/// Checks all of it for a request that was received. None of it depends on the bytes being sensible.
pub(super) fn check_pairs(request: &Request<'_>) {
    check_cookies(request);
    check_query(request);
    check_copy(request);
}

/// The cookies alone, joined as a client joins them, are the same cookies.
fn check_cookies(request: &Request<'_>) {
    let mut joined = Vec::new();
    for (name, value) in request.cookies() {
        assert!(!name.is_empty() && !name.contains(&b'=') && !name.contains(&b';'));
        assert!(!value.contains(&b';'));
        assert_eq!((name, value), (name.trim_ascii(), value.trim_ascii()));
        let separator = if joined.is_empty() { "" } else { "; " };
        joined.extend_from_slice(separator.as_bytes());
        joined.extend_from_slice(&[name, b"=", value].concat());
        if let Ok(name) = std::str::from_utf8(name) {
            let mut all = request.cookies();
            let first = all.find(|(other, _)| *other == name.as_bytes());
            assert_eq!(request.cookie(name), first.map(|(_, value)| value));
        }
    }
    let head = [
        b"GET / HTTP/1.1\r\nHost: a\r\nCookie: ",
        &joined[..],
        b"\r\n\r\n",
    ]
    .concat();
    parse(&head, |again| {
        assert!(again.cookies().eq(request.cookies()))
    });
}

/// The parameters, with every byte escaped, are the same parameters.
fn check_query(request: &Request<'_>) {
    let mut escaped = String::new();
    for (name, value) in request.query_pairs() {
        let escape =
            |text: &str| -> String { text.bytes().map(|byte| format!("%{byte:02x}")).collect() };
        escaped += &format!("&{}={}", escape(&name), escape(&value));
        let mut all = request.query_pairs();
        let first = all.find(|(other, _)| *other == name);
        assert_eq!(request.query_value(&name), first.map(|(_, value)| value));
    }
    let head = format!("GET /?{escaped} HTTP/1.1\r\nHost: a\r\n\r\n");
    parse(head.as_bytes(), |again| {
        assert!(again.query_pairs().eq(request.query_pairs()))
    });
}

fn check_copy(request: &Request<'_>) {
    let copy = request.owned();
    let again = copy.request();
    assert_eq!(
        (again.method(), again.target()),
        (request.method(), request.target())
    );
    assert_eq!(
        (again.minor_version(), again.body()),
        (request.minor_version(), request.body())
    );
    assert!(again.headers().eq(request.headers()));
    assert_eq!(again.authority(), request.authority());
}

#[track_caller]
fn parse(head: &[u8], check: impl FnOnce(&Request<'_>)) {
    let limits = HeadLimits {
        max_bytes: usize::MAX,
        ..HeadLimits::default()
    };
    let parsed = Request::parse(head, &limits).expect("it is sound");
    check(&parsed.expect("it is whole").0);
}
