//! Section 4.4: more than one version of the protocol.

use crate::support::bytes::upgrade_request;
use crate::support::head::header;
use crate::support::sides::Acceptor;

fn request(version: &str) -> Vec<u8> {
    let sample = String::from_utf8(upgrade_request("/", "")).unwrap();
    assert!(sample.contains("Sec-WebSocket-Version: 13\r\n"));
    sample
        .replace("Sec-WebSocket-Version: 13\r\n", version)
        .into_bytes()
}

#[test]
fn s4_4_another_version_is_answered_with_the_one_we_speak() {
    let mut server = Acceptor::new();
    for version in [
        "",
        "Sec-WebSocket-Version:\r\n",
        "Sec-WebSocket-Version: 0\r\n",
        "Sec-WebSocket-Version: 8\r\n",
        "Sec-WebSocket-Version: 14\r\n",
        "Sec-WebSocket-Version: 255\r\n",
        "Sec-WebSocket-Version: 013\r\n",
        "Sec-WebSocket-Version: +13\r\n",
        "Sec-WebSocket-Version: 13.0\r\n",
        "Sec-WebSocket-Version: 13, 8\r\n",
        "Sec-WebSocket-Version: \"13\"\r\n",
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 8\r\n",
    ] {
        let answer = server.ask(&request(version));
        assert!(answer.starts_with("HTTP/1.1 426 "), "{version}{answer}");
        assert_eq!(header(&answer, "Sec-WebSocket-Version"), "13");
        // RFC 9110, 7.8 and 15.5.22
        assert_eq!(header(&answer, "Upgrade"), "websocket");
        assert!(header(&answer, "Connection").contains("Upgrade"));
    }
    assert!(server.turning.recorder.opened().is_empty());
}

#[test]
fn s4_4_a_client_that_comes_again_with_our_version_is_accepted() {
    let mut server = Acceptor::new();
    let refused = server.ask(&request("Sec-WebSocket-Version: 25\r\n"));
    let ours = header(&refused, "Sec-WebSocket-Version");
    let again = request(&format!("Sec-WebSocket-Version: {ours}\r\n"));
    let mut peer = server.dial();
    std::io::Write::write_all(&mut peer, &again).unwrap();
    let answer = server.turning.read_head(&mut peer);
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
}

#[test]
fn s4_4_the_version_stands_there_once() {
    let twice = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 13\r\n";
    let answer = Acceptor::new().ask(&request(twice));
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}
