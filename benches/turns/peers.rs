//! Peers in a process of their own, which answer pings and do one thing more.

use std::env;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Pid, Signal, kill_process};
use std::os::fd::AsRawFd;

/// What the peers do beside answering pings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Quiet,
    /// A thousand of them send without pause, once they are told to.
    Talks,
    /// They come only when they are told to, all at once.
    Comes,
}

impl Manner {
    const ALL: [(&'static str, Self); 3] = [
        ("quiet-peers", Self::Quiet),
        ("talking-peers", Self::Talks),
        ("coming-peers", Self::Comes),
    ];

    pub(crate) fn of_child(args: &[String]) -> Option<Self> {
        let (_, manner) = Self::ALL
            .iter()
            .find(|(name, _)| args.first().is_some_and(|arg| arg == name))?;
        Some(*manner)
    }

    fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, manner)| *manner == self)
            .unwrap()
            .0
    }
}

/// The process of the peers, until it is dropped.
pub(crate) struct Peers {
    child: Child,
    word: ChildStdin,
}

impl Peers {
    pub(crate) fn start(addr: SocketAddr, count: usize, manner: Manner) -> io::Result<Self> {
        let mut child = Command::new(env::current_exe()?)
            .args([manner.name(), &addr.to_string(), &count.to_string()])
            .stdin(Stdio::piped())
            .spawn()?;
        let word = child.stdin.take().unwrap();
        Ok(Self { child, word })
    }

    /// Tells them to begin.
    pub(crate) fn go(&mut self) -> io::Result<()> {
        self.word.write_all(b"go\n")
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Stops the process: its kernel goes on, and nobody answers.
    pub(crate) fn stop(&self) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, Signal::STOP).unwrap();
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the child does: `args` are the server's address and the number of peers.
pub(crate) fn run(args: &[String], manner: Manner) -> io::Result<()> {
    let addr: SocketAddr = args[0].parse().map_err(io::Error::other)?;
    let count: usize = args[1].parse().map_err(io::Error::other)?;
    let mut crowd = Crowd {
        poll: Poll::new()?,
        events: Events::with_capacity(4096),
        peers: Vec::with_capacity(count),
        talkers: 0,
    };
    let mut word = BufReader::new(io::stdin());
    if manner == Manner::Comes {
        word.read_line(&mut String::new())?;
    }
    // So many come at once that the server is busy, and those that are there answer it meanwhile.
    for some in (0..count).step_by(WAVE) {
        crowd.dial(addr, some..count.min(some + WAVE))?;
        crowd.answer(Some(Duration::ZERO))?;
    }
    let word = word.get_ref().as_raw_fd();
    crowd
        .poll
        .registry()
        .register(&mut SourceFd(&word), WORD, Interest::READABLE)?;
    crowd.live(manner)
}

struct Crowd {
    poll: Poll,
    events: Events,
    peers: Vec<Peer>,
    /// So many of them send without pause.
    talkers: usize,
}

struct Peer {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Crowd {
    fn dial(&mut self, addr: SocketAddr, numbers: std::ops::Range<usize>) -> io::Result<()> {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {addr}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        for number in numbers {
            let mut stream = TcpStream::connect(addr)?;
            stream.set_nodelay(true)?;
            stream.write_all(request.as_bytes())?;
            stream.set_nonblocking(true)?;
            let fd = stream.as_raw_fd();
            let token = Token(number);
            self.poll
                .registry()
                .register(&mut SourceFd(&fd), token, Interest::READABLE)?;
            self.peers.push(Peer {
                stream,
                unread: Vec::new(),
            });
        }
        Ok(())
    }

    /// Answers until the server's process ends.
    fn live(&mut self, manner: Manner) -> io::Result<()> {
        let flood = FRAME.repeat(1_000);
        loop {
            let wait = (self.talkers > 0).then_some(Duration::ZERO);
            if self.answer(wait)? {
                let mut words = [0; 16];
                if io::stdin().read(&mut words)? == 0 {
                    return Ok(());
                }
                if manner == Manner::Talks {
                    self.talkers = TALKERS.min(self.peers.len());
                }
            }
            for peer in &mut self.peers[..self.talkers] {
                peer.talk(&flood)?;
            }
        }
    }

    /// Answers whom the server has asked; returns whether there is a word for us.
    fn answer(&mut self, wait: Option<Duration>) -> io::Result<bool> {
        self.poll.poll(&mut self.events, wait)?;
        let mut has_word = false;
        for event in &self.events {
            match event.token() {
                WORD => has_word = true,
                Token(number) => self.peers[number].answer()?,
            }
        }
        Ok(has_word)
    }
}

impl Peer {
    /// Reads all there is and answers each ping.
    fn answer(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => {
                    self.unread.extend_from_slice(&buffer[..count]);
                    if count < buffer.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return Ok(()),
            }
        }
        let mut done = 0;
        while let Some(len) = frame_len(&self.unread[done..]) {
            let frame = &self.unread[done..done + len];
            if frame[0] == 0x89 {
                let mut pong = [0x8A, 0x84, 0, 0, 0, 0, 0, 0, 0, 0];
                pong[6..].copy_from_slice(&frame[2..6]);
                let _ = self.stream.write(&pong);
            }
            done += len;
        }
        self.unread.drain(..done);
        if self.unread.is_empty() {
            self.unread = Vec::new();
        }
        Ok(())
    }

    /// Sends as many frames as there is room for. A cut one is completed at once, which may take a while.
    fn talk(&mut self, flood: &[u8]) -> io::Result<()> {
        let sent = match self.stream.write(flood) {
            Ok(sent) => sent,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(_) => return Ok(()),
        };
        let rest = sent.next_multiple_of(FRAME.len()) - sent;
        if rest > 0 {
            self.stream.set_nonblocking(false)?;
            let _ = self.stream.write_all(&FRAME[FRAME.len() - rest..]);
            self.stream.set_nonblocking(true)?;
        }
        Ok(())
    }
}

/// Returns the length of the head of an opening or of a small frame, once it has come whole.
fn frame_len(bytes: &[u8]) -> Option<usize> {
    let len = match bytes.first()? {
        b'H' => bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4,
        _ => 2 + usize::from(*bytes.get(1)?),
    };
    (len <= bytes.len()).then_some(len)
}

/// A masked text of 16 bytes.
const FRAME: [u8; 22] = *b"\x81\x90\0\0\0\0sixteen bytes ok";

const WAVE: usize = 100;
const TALKERS: usize = 1_000;
const WORD: Token = Token(usize::MAX - 1);
