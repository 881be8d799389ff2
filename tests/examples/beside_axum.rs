//! The loop beside axum, on one port.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::running::{Running, any};
use crate::support::PATIENCE;
use crate::support::bytes::{masked_frame, unmasked_frame, upgrade_request};

#[path = "../../examples/beside_axum.rs"]
#[allow(dead_code, unreachable_pub, reason = "its main is not called")]
mod example;

/// A client of the port.
struct Client {
    stream: TcpStream,
    rx: Vec<u8>,
}

impl Client {
    fn ask(addr: SocketAddr, request: &[u8]) -> Self {
        let mut stream = TcpStream::connect(addr).unwrap();
        let short = Some(Duration::from_millis(20));
        stream.set_read_timeout(short).unwrap();
        stream.write_all(request).unwrap();
        Self {
            stream,
            rx: Vec::new(),
        }
    }

    /// Reads until something is found in what has come.
    #[track_caller]
    fn read<T>(&mut self, find: impl Fn(&[u8]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = find(&self.rx) {
                return found;
            }
            assert!(Instant::now() < deadline, "gave up after {:?}", self.rx);
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(count) => self.rx.extend_from_slice(&chunk[..count]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    }

    /// Takes the head of an answer, as text.
    #[track_caller]
    fn head(&mut self) -> String {
        let len = self.read(|rx| rx.windows(4).position(|end| end == b"\r\n\r\n"));
        let head: Vec<_> = self.rx.drain(..len + 4).collect();
        String::from_utf8(head).unwrap().to_lowercase()
    }

    /// Takes the next frame.
    #[track_caller]
    fn frame(&mut self) -> (u8, Vec<u8>) {
        let (first, payload) = self.read(unmasked_frame);
        let data = self.rx[payload.clone()].to_vec();
        self.rx.drain(..payload.end);
        (first, data)
    }
}

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").into_bytes()
}

/// Asks for the number of feeds until it is this one.
#[track_caller]
fn await_online(addr: SocketAddr, count: usize) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut client = Client::ask(addr, &get("/online"));
        let head = client.head();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let body = client.read(|rx| rx.ends_with(b"\n").then(|| rx.to_vec()));
        if body == format!("{count}\n").as_bytes() {
            return;
        }
        assert!(Instant::now() < deadline, "{body:?} are online");
    }
}

#[test]
fn feeds_go_on_in_the_loop_and_the_rest_in_axum() {
    let served: Running<_, String, example::Order> = Running::start(|sender| {
        let ready = |addr, handle| sender.send((addr, handle)).unwrap();
        example::serve(any(), ready).unwrap();
    });
    let addr = served.at;
    await_online(addr, 0);
    // A ping comes right behind the request.
    let mut request = upgrade_request("/feed/ann", "");
    request.extend(masked_frame(0x89, b"early"));
    let mut ann = Client::ask(addr, &request);
    let head = ann.head();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    assert_eq!(ann.frame(), (0x8a, b"early".to_vec()));
    let mut bob = Client::ask(addr, &upgrade_request("/feed/bob", ""));
    assert!(bob.head().starts_with("http/1.1 101"));
    await_online(addr, 2);

    let push = "POST /push/bob HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello";
    let mut pusher = Client::ask(addr, push.as_bytes());
    assert!(pusher.head().starts_with("http/1.1 202"));
    assert_eq!(bob.frame(), (0x81, b"hello".to_vec()));

    let mut plain = Client::ask(addr, &get("/feed/bob"));
    assert!(plain.head().starts_with("http/1.1 426"));
    ann.stream
        .write_all(&masked_frame(0x88, &1000_u16.to_be_bytes()))
        .unwrap();
    assert_eq!(ann.frame(), (0x88, 1000_u16.to_be_bytes().to_vec()));
    await_online(addr, 1);
}
