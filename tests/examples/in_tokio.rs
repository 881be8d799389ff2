//! The loop nested in tokio.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use crate::running::{Running, any};
use crate::support::PATIENCE;

#[path = "../../examples/in_tokio.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not called")]
mod example;

#[test]
fn tasks_publish_and_answer_beside_the_loop() {
    let served = Running::start(|sender| {
        let ready = |addr, handle| sender.send((addr, handle)).unwrap();
        example::serve(any(), ready).unwrap();
    });
    let mut peers = [(); 2].map(|()| {
        let peer = TcpStream::connect(served.at).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        BufReader::new(peer)
    });
    peers[0].get_mut().write_all(b"why\n").unwrap();
    let mut line = || {
        let mut line = String::new();
        peers[0].read_line(&mut line).unwrap();
        line
    };
    // The count goes on while the answer takes its time.
    let mut heard = vec![line()];
    while !(heard.iter().any(|line| line == "you asked: why\n")
        && heard.iter().any(|line| line.starts_with("tick ")))
    {
        heard.push(line());
    }
    let mut other = String::new();
    peers[1].read_line(&mut other).unwrap();
    assert!(other.starts_with("tick "), "{other}");
}
