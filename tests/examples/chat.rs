//! The chat with rooms.

use std::net::SocketAddr;

use crate::running::{Running, any};
use crate::support::Wire;
use crate::support::raw::{Arrival, RawPeer};

#[path = "../../examples/chat.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not called")]
mod example;

/// The example, until it is dropped.
struct Chat(Running<[SocketAddr; 2], example::Member>);

impl Chat {
    fn start() -> Self {
        Self(Running::start(|sender| {
            let ready = |addrs, handle| sender.send((addrs, handle)).unwrap();
            example::serve([any(), any()], ready).unwrap();
        }))
    }

    /// Comes over WebSocket or with lines, with a name.
    fn come(&self, wire: Wire, nick: &str) -> RawPeer {
        let addr = match wire {
            Wire::WebSocket => self.0.at[0],
            _ => self.0.at[1],
        };
        let mut peer = RawPeer::connect(wire, addr.port());
        let welcome = hear(&mut peer);
        let guest = welcome.strip_prefix("* welcome, ").unwrap().to_owned();
        peer.send_text(&format!("/nick {nick}"));
        assert_eq!(hear(&mut peer), format!("* {guest} is now {nick}"));
        peer
    }
}

/// Returns what a peer is told next.
#[track_caller]
fn hear(peer: &mut RawPeer) -> String {
    match peer.next_answering() {
        Arrival::Message(text) => String::from_utf8(text).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn ask(peer: &mut RawPeer, command: &str) -> String {
    peer.send_text(command);
    hear(peer)
}

#[test]
fn members_of_a_room_hear_each_other_and_nobody_else() {
    let chat = Chat::start();
    let mut ann = chat.come(Wire::WebSocket, "ann");
    let mut bob = chat.come(Wire::Line, "bob");
    let mut eve = chat.come(Wire::WebSocket, "eve");
    assert_eq!(ask(&mut ann, "hello?"), "* you are in no room: /join ROOM");
    assert_eq!(ask(&mut ann, "/join tea"), "* ann has come to tea");
    assert_eq!(ask(&mut bob, "/join tea"), "* bob has come to tea");
    assert_eq!(hear(&mut ann), "* bob has come to tea");
    assert_eq!(ask(&mut eve, "/join attic"), "* eve has come to attic");
    assert_eq!(ask(&mut bob, "hello, all"), "bob: hello, all");
    assert_eq!(hear(&mut ann), "bob: hello, all");
    assert_eq!(ask(&mut ann, "/who"), "* here: ann bob");
    assert_eq!(ask(&mut eve, "/rooms"), "* rooms: attic (1) tea (2)");
    // What is said next is the next thing that they hear.
    assert_eq!(ask(&mut eve, "/join tea"), "* eve has left attic");
    assert_eq!(hear(&mut eve), "* eve has come to tea");
    assert_eq!(hear(&mut ann), "* eve has come to tea");
    assert_eq!(ask(&mut ann, "/rooms"), "* rooms: tea (3)");
}

#[test]
fn who_leaves_or_is_gone_is_missed_and_hears_no_more() {
    let chat = Chat::start();
    let mut ann = chat.come(Wire::WebSocket, "ann");
    let mut bob = chat.come(Wire::WebSocket, "bob");
    let mut eve = chat.come(Wire::Line, "eve");
    for (peer, nick) in [(&mut ann, "ann"), (&mut bob, "bob"), (&mut eve, "eve")] {
        assert_eq!(ask(peer, "/join tea"), format!("* {nick} has come to tea"));
    }
    for news in ["* bob has come to tea", "* eve has come to tea"] {
        assert_eq!(hear(&mut ann), news);
    }
    assert_eq!(hear(&mut bob), "* eve has come to tea");
    assert_eq!(ask(&mut bob, "/leave"), "* bob has left tea");
    assert_eq!(hear(&mut ann), "* bob has left tea");
    drop(eve);
    assert_eq!(hear(&mut ann), "* eve is gone");
    assert_eq!(ask(&mut ann, "alone?"), "ann: alone?");
    assert_eq!(ask(&mut bob, "/rooms"), "* rooms: tea (1)");
    drop(ann);
    while ask(&mut bob, "/rooms") != "* rooms: " {}
}

#[test]
fn what_is_no_command_and_no_name_is_refused() {
    let chat = Chat::start();
    let mut ann = chat.come(Wire::WebSocket, "ann");
    assert_eq!(ask(&mut ann, "/shout"), "* no such command");
    let refused = "* a name has 1 to 32 letters or digits";
    for command in ["/join", "/join a b", "/nick \u{1b}[2J"] {
        assert_eq!(ask(&mut ann, command), refused);
    }
    assert_eq!(ask(&mut ann, &format!("/join {}", "x".repeat(33))), refused);
    ann.send_binary(&[0xff]);
    assert_eq!(hear(&mut ann), "* only text, please");
    assert_eq!(ask(&mut ann, "/join tea"), "* ann has come to tea");
    assert_eq!(ask(&mut ann, "/join tea"), "* you are there");
}
