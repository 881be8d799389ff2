//! The server that speaks Redis' protocol, spoken to in bytes (RESP2), whole and byte by byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::running::{Running, any};
use crate::support::PATIENCE;

#[path = "../../examples/redis.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not called")]
mod example;

/// Starts the example, which runs until it is dropped.
fn start(password: Option<&str>) -> Running<SocketAddr> {
    let password = password.map(str::to_owned);
    Running::start(|sender| {
        let ready = |addr, handle| sender.send((addr, handle)).unwrap();
        example::serve(any(), password, ready).unwrap();
    })
}

fn dial(addr: SocketAddr) -> TcpStream {
    let peer = TcpStream::connect(addr).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.set_nodelay(true).unwrap();
    peer
}

/// Writes in pieces of this size.
fn write(peer: &mut TcpStream, bytes: &[u8], piece: usize) {
    for piece in bytes.chunks(piece) {
        peer.write_all(piece).unwrap();
    }
}

#[track_caller]
fn expect(peer: &mut TcpStream, text: &str) {
    let mut read = vec![0; text.len()];
    peer.read_exact(&mut read).unwrap();
    assert_eq!(String::from_utf8_lossy(&read), text);
}

#[track_caller]
fn expect_end(peer: &mut TcpStream) {
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
}

#[test]
fn commands_are_answered_in_their_order_however_they_come() {
    for piece in [usize::MAX, 1] {
        let server = start(None);
        let (mut ann, mut eve) = (dial(server.at), dial(server.at));
        let said = "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n$1\r\na\r\nPING\r\n";
        write(&mut ann, said.as_bytes(), piece);
        let heard = "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:2\r\n";
        expect(&mut ann, heard);
        expect(&mut ann, "+PONG\r\n");
        // A pipeline: what the codec answers and what the handler does stay in their order.
        let said = "PING\r\n*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$7\r\nhe\r\nllo\r\nping\n\r\nnothing\r\n\
            *2\r\n$4\r\nECHO\r\n$2\r\nhi\r\nPUBLISH nobody x\r\nQUIT\r\nPING\r\n";
        write(&mut eve, said.as_bytes(), piece);
        let heard = "+PONG\r\n:1\r\n+PONG\r\n-ERR unknown command, or its arguments\r\n$2\r\nhi\r\n:0\r\n+OK\r\n";
        expect(&mut eve, heard);
        expect_end(&mut eve);
        expect(
            &mut ann,
            "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$7\r\nhe\r\nllo\r\n",
        );
        write(&mut ann, b"UNSUBSCRIBE a\r\nUNSUBSCRIBE\r\n", piece);
        expect(&mut ann, "*3\r\n$11\r\nunsubscribe\r\n$1\r\na\r\n:1\r\n");
        expect(&mut ann, "*3\r\n$11\r\nunsubscribe\r\n$4\r\nnews\r\n:0\r\n");
    }
}

#[test]
fn a_password_is_asked_for_first() {
    for piece in [usize::MAX, 1] {
        let server = start(Some("secret"));
        let mut peer = dial(server.at);
        write(&mut peer, b"PING\r\nAUTH wrong\r\n", piece);
        expect(
            &mut peer,
            "-NOAUTH Authentication required.\r\n-WRONGPASS invalid password\r\n",
        );
        write(
            &mut peer,
            b"AUTH secret\r\nPING\r\nAUTH wrong\r\nPUBLISH a b\r\n",
            piece,
        );
        expect(
            &mut peer,
            "+OK\r\n+PONG\r\n-WRONGPASS invalid password\r\n:0\r\n",
        );
        let mut peer = dial(server.at);
        write(&mut peer, b"*1\r\n$4\r\nQUIT\r\n", piece);
        expect(&mut peer, "+OK\r\n");
        expect_end(&mut peer);
    }
}

#[test]
fn what_is_no_command_ends_the_connection() {
    let server = start(None);
    for bytes in [
        &b"*2\r\nPING\r\n"[..],
        b"*-1\r\n",
        b"*1\r\n$9999999\r\n",
        b"\xff\r\n",
    ] {
        let mut peer = dial(server.at);
        write(&mut peer, bytes, usize::MAX);
        expect_end(&mut peer);
    }
}

/// The whole pipeline is written before an answer is read: none is lost, and the server holds few.
#[test]
fn a_pipeline_may_be_longer_than_all_buffers() {
    const COUNT: usize = 200_000;
    let server = start(None);
    let mut peer = dial(server.at);
    let mut writer = peer.try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        writer.write_all(&b"ECHO hello\r\n".repeat(COUNT)).unwrap();
    });
    let mut read = vec![0; COUNT * 11];
    peer.read_exact(&mut read).unwrap();
    assert!(read == b"$5\r\nhello\r\n".repeat(COUNT));
    writing.join().unwrap();
}
