//! Section 3: WebSocket URIs.

use heartwheel::reactor::ClientConfig;

use crate::support::bytes::upgrade_request;
use crate::support::head::header;
use crate::support::sides::{Acceptor, Dialer};

#[test]
fn s3_the_port_is_optional_and_80_by_default() {
    for (url, port) in [
        ("ws://example.com", 80),
        ("ws://example.com/", 80),
        ("ws://example.com:/", 80),
        ("ws://[::1]/", 80),
        ("WS://example.com:9001/", 9001),
        ("ws://[::1]:9001/", 9001),
    ] {
        let config = ClientConfig::from_url(url).unwrap();
        assert_eq!(config.port, port, "{url}");
    }
}

#[test]
fn s3_the_resource_name_is_the_path_and_query_and_never_empty() {
    for (path, resource_name) in [
        ("", "/"),
        ("/", "/"),
        ("?a=b", "/?a=b"),
        ("/chat/room?a=b?c", "/chat/room?a=b?c"),
        ("/%23", "/%23"),
        ("//x", "//x"),
    ] {
        let mut dialer = Dialer::new();
        let _first = dialer.accept();
        dialer.connect(path, |config| config.takes_turns = false);
        let (_peer, request) = dialer.accept();
        let line = format!("GET {resource_name} HTTP/1.1\r\n");
        assert!(request.starts_with(&line), "{path:?} gave {request}");
    }
}

#[test]
fn s3_fragments_must_not_be_used() {
    for url in [
        "ws://h/#",
        "ws://h/a#b",
        "ws://h#b",
        "ws://h/?a#b",
        "ws://h:1#",
    ] {
        assert!(ClientConfig::from_url(url).is_err(), "{url}");
    }
    let mut server = Acceptor::new();
    for target in ["/#", "/a#b", "/a?b#c", "http://localhost/#b"] {
        let answer = server.ask(&upgrade_request(target, ""));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{target}: {answer}");
    }
    assert!(server.turning.recorder.opened().is_empty());
}

#[test]
fn s3_what_is_not_a_valid_uri_is_not_dialed() {
    for url in [
        "ws:/h",
        "ws:h",
        "h",
        "http://h/",
        "ws://",
        "ws:///path",
        "ws://:80/",
        "ws://h:x/",
        "ws://h:65536/",
        "ws://h:+80/",
        "ws://u@h/",
        "ws://[::1/",
        "ws://[h]/",
        "ws://::1/",
    ] {
        assert!(ClientConfig::from_url(url).is_err(), "{url}");
    }
    let mut dialer = Dialer::new();
    let mut config = ClientConfig::from_url(&format!("ws://{}/", dialer.addr())).unwrap();
    config.path = "/a b".into();
    assert!(dialer.turning.reactor.connect(config).is_err());
}

#[test]
fn s3_a_secure_uri_is_not_spoken_in_the_clear() {
    for url in ["wss://h/", "WSS://h:443/"] {
        #[cfg(feature = "tls")]
        {
            let config = ClientConfig::from_url(url).unwrap();
            assert_eq!((config.secure, config.port), (true, 443), "{url}");
            // Nothing is dialed without what TLS needs.
            let error = Dialer::new().turning.reactor.connect(config).unwrap_err();
            assert!(error.to_string().contains("tls"), "{error}");
        }
        #[cfg(not(feature = "tls"))]
        {
            let error = ClientConfig::from_url(url).unwrap_err();
            assert!(error.reason().contains("`tls`"), "{error}");
        }
    }
}

#[test]
fn s3_the_host_is_sent_as_the_uri_names_it() {
    let mut dialer = Dialer::new();
    let addr = dialer.addr();
    let (_peer, request) = dialer.accept();
    assert_eq!(header(&request, "Host"), addr.to_string());
}
