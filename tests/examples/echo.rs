//! The echo.

use crate::running::{Running, any};
use crate::support::Wire;
use crate::support::raw::{Arrival, RawPeer};

#[path = "../../examples/echo.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not called")]
mod example;

#[test]
fn it_sends_back_what_it_gets() {
    let served: Running<_> = Running::start(|sender| {
        let ready = |addrs, handle| sender.send((addrs, handle)).unwrap();
        example::serve([any(), any()], ready).unwrap();
    });
    for (wire, addr) in [(Wire::WebSocket, served.at[0]), (Wire::Line, served.at[1])] {
        let mut peer = RawPeer::connect(wire, addr.port());
        peer.send_text("hello");
        match peer.next_answering() {
            Arrival::Message(text) => assert_eq!(text, b"hello"),
            other => panic!("{other:?}"),
        }
    }
}
