//! Carries plain connections to a server over TLS, with all that happens to them: who does not read is not
//! read for, a reset is passed on as a reset, and the end of a direction as the end of that direction.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;

use heartwheel::rustls::pki_types::ServerName;
use heartwheel::rustls::{ClientConfig, ClientConnection};
use rustix::event::{PollFd, PollFlags, poll};
use socket2::{Domain, Socket, Type};

use crate::attacker::reset;

/// Opens a port: whoever connects is carried to the server, under this name and from the address that it has
/// itself. It stays open until the process ends.
pub(crate) fn open_door(server: SocketAddr, tls: &Arc<ClientConfig>, name: &'static str) -> u16 {
    let door = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    door.bind(&any.into()).unwrap();
    door.listen(4096).unwrap();
    let port = door.local_addr().unwrap().as_socket().unwrap().port();
    let tls = Arc::clone(tls);
    thread::spawn(move || {
        loop {
            let (plain, from) = door.accept().expect("raise `ulimit -Hn`");
            let name = ServerName::try_from(name).unwrap();
            let tls = ClientConnection::new(Arc::clone(&tls), name).unwrap();
            plain.set_send_buffer_size(HELD).unwrap();
            let from = from.as_socket().unwrap();
            let carry = move || match dial(from, server) {
                Ok(sealed) => Carrier::new(plain.into(), sealed, tls).run(),
                Err(_) => reset(plain.into()),
            };
            let thread = thread::Builder::new().stack_size(STACK);
            thread.spawn(carry).unwrap();
        }
    });
    port
}

/// Dials from this address, or from another port if its owner keeps it for himself.
fn dial(from: SocketAddr, server: SocketAddr) -> io::Result<TcpStream> {
    let dial = |from: SocketAddr| -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_recv_buffer_size(HELD)?;
        socket.bind(&from.into())?;
        socket.connect(&server.into())?;
        Ok(socket.into())
    };
    match dial(from) {
        Err(error) if is_taken(error.kind()) => dial((from.ip(), 0).into()),
        dialed => dialed,
    }
}

fn is_taken(error: ErrorKind) -> bool {
    [ErrorKind::AddrInUse, ErrorKind::AddrNotAvailable].contains(&error)
}

/// A connection that is carried.
struct Carrier {
    plain: TcpStream,
    sealed: TcpStream,
    tls: ClientConnection,
    /// For the attacker, who has not taken it.
    rest: Vec<u8>,
    /// The attacker has ended its output, and the server knows.
    has_said_all: bool,
    /// The server has said that nothing follows.
    is_last: bool,
    /// The attacker knows that, too.
    has_heard_all: bool,
}

impl Carrier {
    fn new(plain: TcpStream, sealed: TcpStream, tls: ClientConnection) -> Self {
        for stream in [&plain, &sealed] {
            stream.set_nonblocking(true).unwrap();
            // The other side may be gone already.
            let _ = stream.set_nodelay(true);
        }
        Self {
            plain,
            sealed,
            tls,
            rest: Vec::new(),
            has_said_all: false,
            is_last: false,
            has_heard_all: false,
        }
    }

    /// Carries until both directions have ended, or one side is gone: then the other one hears of it.
    fn run(mut self) {
        while !(self.has_said_all && self.has_heard_all) {
            let carried = self.carry();
            let waited = match carried {
                Ok(false) => self.wait(),
                Ok(true) | Err(_) => carried.map(drop),
            };
            if waited.is_err() {
                // What came before the end is the attacker's.
                while let Ok(true) = self.read_server() {}
                let _ = self.plain.write(&self.rest);
                reset(self.plain);
                reset(self.sealed);
                return;
            }
        }
    }

    /// Does what can be done at once; says whether that was anything.
    fn carry(&mut self) -> io::Result<bool> {
        let mut has_done = done(match self.tls.wants_write() {
            true => self.tls.write_tls(&mut self.sealed).map(drop),
            false => Err(ErrorKind::WouldBlock.into()),
        })?;
        if self.hears_server() {
            has_done |= self.read_server()?;
        }
        if self.hears_attacker() {
            has_done |= self.read_attacker()?;
        }
        if !self.rest.is_empty() {
            let wrote = self.plain.write(&self.rest);
            has_done |= done(wrote.map(|count| drop(self.rest.drain(..count))))?;
        }
        if self.is_last && self.rest.is_empty() && !self.has_heard_all {
            self.plain.shutdown(Shutdown::Write)?;
            self.has_heard_all = true;
        }
        Ok(has_done)
    }

    fn hears_server(&self) -> bool {
        self.rest.is_empty() && !self.is_last
    }

    /// The handshake comes first, and what was said last must have left.
    fn hears_attacker(&self) -> bool {
        !self.tls.is_handshaking() && !self.tls.wants_write() && !self.has_said_all
    }

    fn read_server(&mut self) -> io::Result<bool> {
        let read = self.tls.read_tls(&mut self.sealed);
        if matches!(read, Ok(0)) {
            // It says goodbye before it ends.
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if !done(read.map(drop))? {
            return Ok(false);
        }
        let state = self.tls.process_new_packets().map_err(io::Error::other)?;
        self.is_last |= state.peer_has_closed();
        let begin = self.rest.len();
        self.rest.resize(begin + state.plaintext_bytes_to_read(), 0);
        self.tls.reader().read_exact(&mut self.rest[begin..])?;
        Ok(true)
    }

    fn read_attacker(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 16 * 1024];
        let read = self.plain.read(&mut buffer);
        match read {
            Ok(0) => {
                self.tls.send_close_notify();
                while self.tls.wants_write() {
                    // There is room, since nothing else is on its way.
                    self.tls.write_tls(&mut self.sealed)?;
                }
                self.sealed.shutdown(Shutdown::Write)?;
                self.has_said_all = true;
            }
            Ok(count) => self.tls.writer().write_all(&buffer[..count])?,
            Err(_) => return done(read.map(drop)),
        }
        Ok(true)
    }

    /// Waits until something can be done. An error is that one side is gone that was not to be heard.
    fn wait(&self) -> io::Result<()> {
        let flags = |reads: bool, writes: bool| {
            let read = if reads {
                PollFlags::IN
            } else {
                PollFlags::empty()
            };
            let write = if writes {
                PollFlags::OUT
            } else {
                PollFlags::empty()
            };
            read | write
        };
        let plain = flags(self.hears_attacker(), !self.rest.is_empty());
        let sealed = flags(self.hears_server(), self.tls.wants_write());
        let mut ends = Vec::new();
        // One that is over in both directions would never let us rest.
        let is_over = self.has_said_all && self.has_heard_all;
        if !(is_over || self.tls.is_handshaking()) {
            ends.push(PollFd::new(&self.plain, plain));
        }
        if !sealed.is_empty() || !self.has_said_all {
            ends.push(PollFd::new(&self.sealed, sealed));
        }
        poll(&mut ends, None)?;
        // One that is to be read tells what it has to say first.
        let is_gone = |end: &PollFd<'_>| {
            let flags = end.revents();
            flags.contains(PollFlags::ERR) && !flags.contains(PollFlags::IN)
        };
        match ends.iter().any(is_gone) {
            true => Err(ErrorKind::ConnectionReset.into()),
            false => Ok(()),
        }
    }
}

/// Says whether something was done, if it did not fail.
fn done(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
        Err(error) => Err(error),
    }
}

/// Bytes that it holds of what the server says, at each of its sockets: little, so that the server's output
/// waits for whoever does not read.
const HELD: usize = 64 * 1024;

/// Stack of a thread that carries.
const STACK: usize = 256 * 1024;
