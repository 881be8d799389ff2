use super::*;
use crate::proto::http::HeadLimits;

const OURS: &str = "10.";

fn client(lines: &[&str]) -> Result<Option<String>, ForwardedError> {
    let head = format!(
        "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
        lines.join("\r\n") + "\r\n"
    );
    let parsed = Request::parse(head.as_bytes(), &HeadLimits::default());
    let (request, _) = parsed.expect("it is sound").expect("it is whole");
    let trusted = |ip: IpAddr| ip.to_string().starts_with(OURS) || ip.to_string() == "2001:db8::1";
    client_of(&request, trusted).map(|client| client.map(|addr| addr.to_string()))
}

#[track_caller]
fn names(field: &str, value: &str, expected: Option<&str>) {
    let line = format!("{field}: {value}");
    assert_eq!(client(&[&line]), Ok(expected.map(str::to_owned)), "{line}");
}

#[track_caller]
fn is_malformed(field: &'static str, value: &str) {
    let line = format!("{field}: {value}");
    assert_eq!(
        client(&[&line]),
        Err(ForwardedError::Malformed(field)),
        "{line}"
    );
}

#[test]
fn the_rightmost_address_that_is_not_ours_is_the_clients() {
    for (value, expected) in [
        ("203.0.113.7", Some("203.0.113.7:0")),
        ("6.6.6.6, 203.0.113.7", Some("203.0.113.7:0")),
        ("203.0.113.7, 10.0.0.2,10.0.0.3", Some("203.0.113.7:0")),
        (
            "6.6.6.6,203.0.113.7:4711,\t10.0.0.2:80",
            Some("203.0.113.7:4711"),
        ),
        ("10.0.0.9, 10.0.0.2", Some("10.0.0.9:0")),
        ("2001:db8::7, 2001:db8::1", Some("[2001:db8::7]:0")),
        ("[2001:db8::7]:9, [2001:db8::1]:1", Some("[2001:db8::7]:9")),
        ("[2001:db8::7]", Some("[2001:db8::7]:0")),
        ("::ffff:203.0.113.7", Some("203.0.113.7:0")),
        ("203.0.113.7, ::ffff:10.0.0.2", Some("203.0.113.7:0")),
        // What stands left of it is whatever the client likes.
        ("<script>, 203.0.113.7", Some("203.0.113.7:0")),
        (", ,203.0.113.7, ,", Some("203.0.113.7:0")),
        ("", None),
        (" , ", None),
    ] {
        names("x-forwarded-for", value, expected);
    }
    assert_eq!(client(&[]), Ok(None));
}

#[test]
fn a_client_that_a_proxy_of_ours_hides_is_not_known() {
    for value in ["unknown", "UNKNOWN", "_hidden", "_a.b-c_9:_d", "unknown:80"] {
        names("x-forwarded-for", value, None);
        names(
            "x-forwarded-for",
            &format!("203.0.113.7, {value}, 10.0.0.2"),
            None,
        );
        names(
            "forwarded",
            &format!("for=203.0.113.7, for=\"{value}\""),
            None,
        );
    }
    names("forwarded", "proto=https", None);
    names("forwarded", "for=203.0.113.7, by=10.0.0.2", None);
}

#[test]
fn what_a_proxy_of_ours_cannot_have_meant_is_malformed() {
    for value in [
        "203.0.113.7, x",
        "203.0.113",
        "203.0.113.256",
        "0203.0.113.7",
        "203.0.113.7:",
        "203.0.113.7:65536",
        "203.0.113.7:+1",
        "203.0.113.7:1:2",
        "203.0.113.7 10.0.0.2",
        "[2001:db8::7",
        "[2001:db8::7]9",
        "[203.0.113.7]",
        "2001:db8::7%eth0",
        "\"203.0.113.7\"",
        "_",
        "_\u{e9}",
        "x, 10.0.0.2",
    ] {
        is_malformed("x-forwarded-for", value);
    }
    assert_eq!(
        client(&["X-Forwarded-For: \u{ff}"]),
        Err(ForwardedError::Malformed("x-forwarded-for"))
    );
}

#[test]
fn the_parameters_of_forwarded_are_read_by_its_grammar() {
    for (value, expected) in [
        ("for=203.0.113.7", "203.0.113.7:0"),
        ("For=\"203.0.113.7:4711\"", "203.0.113.7:4711"),
        (
            "for=\"[2001:db8::7]:9\";proto=https;by=10.0.0.2",
            "[2001:db8::7]:9",
        ),
        ("for=\"[2001:db8::7]\"", "[2001:db8::7]:0"),
        ("for=[2001:db8::7]:9", "[2001:db8::7]:9"),
        (
            "proto=https;host=\"a,b;c\\\"d\";for=203.0.113.7",
            "203.0.113.7:0",
        ),
        (
            "for=6.6.6.6, for=203.0.113.7;by=10.0.0.3 , for=10.0.0.2",
            "203.0.113.7:0",
        ),
        (";for=203.0.113.7;, ,", "203.0.113.7:0"),
        ("for=\"2\\03.0.113.7\"", "203.0.113.7:0"),
    ] {
        names("forwarded", value, Some(expected));
    }
    for value in [
        "203.0.113.7",
        "for",
        "for=",
        "for=\"",
        "for=\"203.0.113.7",
        "for=\"203.0.113.7\\",
        "for=\"203.0.113.7\"x",
        "for =203.0.113.7",
        "=203.0.113.7",
        "f(r=203.0.113.7",
        "for=203.0.113.7;for=203.0.113.8",
        "for=203.0.113.7 for=203.0.113.8",
        "for=203.0.113.7/8",
    ] {
        is_malformed("forwarded", value);
    }
}

/// What a client sent before it could hide, or quote, what the proxy of ours added behind it.
#[test]
fn no_quote_of_a_client_hides_what_a_proxy_has_added() {
    for sent in ["for=6.6.6.6;x=\"", "for=\"6.6.6.6", "for=\"6.6.6.6\\", "\""] {
        for added in [
            "for=203.0.113.7",
            "for=\"[2001:db8::7]:9\"",
            "for=\"203.0.113.7\";by=_x",
        ] {
            is_malformed("forwarded", &format!("{sent}, {added}"));
        }
        // In a line of its own, it is the last.
        let lines = [
            format!("Forwarded: {sent}"),
            "Forwarded: for=203.0.113.7".into(),
        ];
        let found = client(&lines.each_ref().map(String::as_str));
        assert_eq!(found, Ok(Some("203.0.113.7:0".into())));
    }
}

#[test]
fn the_lines_of_a_field_are_one_list() {
    let lines = [
        "X-Forwarded-For: 6.6.6.6, 203.0.113.7",
        "x-forwarded-for: 10.0.0.2",
    ];
    assert_eq!(client(&lines), Ok(Some("203.0.113.7:0".into())));
    let lines = [
        "Forwarded: for=203.0.113.7",
        "X-Other: 1",
        "forwarded: for=10.0.0.2",
    ];
    assert_eq!(client(&lines), Ok(Some("203.0.113.7:0".into())));
}

#[test]
fn fields_that_disagree_are_refused_since_a_proxy_writes_only_one_of_them() {
    let x = "X-Forwarded-For: 203.0.113.7";
    assert_eq!(
        client(&[x, "Forwarded: for=\"203.0.113.7:4711\""]),
        Ok(Some("203.0.113.7:4711".into()))
    );
    for other in ["for=6.6.6.6", "for=unknown", "proto=https"] {
        let line = format!("Forwarded: {other}");
        assert_eq!(
            client(&[x, &line]),
            Err(ForwardedError::Contradiction),
            "{other}"
        );
    }
    assert_eq!(
        client(&[x, "Forwarded: "]),
        Ok(Some("203.0.113.7:0".into()))
    );
}
