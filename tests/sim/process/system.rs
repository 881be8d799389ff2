//! The system that a simulated process runs on: the world's sockets and clocks, and the model listening.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;

use heartwheel::PeerAddr;
use heartwheel::close::{Cause, KernelFigures, Phase};
use heartwheel::proto::session::Note;
use heartwheel::proto::time::Micros;
use heartwheel::sys::{ListenAddr, NoLayer, Probe, Socket, SocketOptions, System, Token, Wake};

use super::clients::Clients;
use super::{Program, Terms};
use crate::model::{Birth, Rules, Speech, Watch};
use crate::world::tcp::{Failure, SockId};
use crate::world::{Hardship, HostId, Os};

/// The way of one process into the world.
#[derive(Debug)]
pub(crate) struct Simulated<'y> {
    os: Os<'y>,
    program: Rc<Program>,
    clients: Rc<RefCell<Clients>>,
    /// For how long the machine had slept when that was last asked.
    slept: Cell<Micros>,
}

impl<'y> Simulated<'y> {
    pub(crate) fn new(os: Os<'y>, program: Rc<Program>, clients: Rc<RefCell<Clients>>) -> Self {
        Self {
            slept: Cell::new(os.clocks().1),
            os,
            program,
            clients,
        }
    }

    fn endpoint(&self, sock: SockId, target: Option<usize>) -> Endpoint<'y> {
        Endpoint {
            os: self.os.clone(),
            sock,
            target,
            speech: self.terms(sock, target).speech,
            resets: false,
        }
    }

    /// What an end speaks, and under which rules it begins.
    fn terms(&self, sock: SockId, target: Option<usize>) -> &Terms {
        match target {
            Some(target) => &self.program.targets[target].terms,
            None => &self.program.ports[self.os.world(|world| world.links[sock.link].port)],
        }
    }

    /// Tells the model that the machine has slept, when the loop is about to learn of it.
    fn note_sleep(&self) {
        self.os.world(|world| {
            world.meet(Hardship::Sleep);
            world.note_probes(self.os.host);
        });
        let now = self.os.clocks().0;
        self.clients.borrow_mut().handle_sleep(now);
    }
}

impl<'y> System for Simulated<'y> {
    type Socket = Endpoint<'y>;
    type Layer = NoLayer;
    type Listener = Port<'y>;

    fn now(&self) -> Micros {
        self.os.breathe();
        self.os.look_at_the_clock()
    }

    fn takes_short_way(&self) -> bool {
        self.program.is_short
    }

    fn slept(&self) -> Micros {
        let slept = self.os.clocks().1;
        if slept - self.slept.get() >= LEAST_SLEEP {
            self.note_sleep();
        }
        self.slept.set(slept);
        slept
    }

    fn listen(
        &mut self,
        addr: ListenAddr,
        _options: &SocketOptions,
    ) -> io::Result<(Port<'y>, PeerAddr)> {
        let ListenAddr::Tcp(addr) = addr else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let number = number_of(addr);
        if self.os.listens(number) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        let os = self.os.clone();
        Ok((Port { os, number }, addr.into()))
    }

    fn register_listener(&mut self, port: &mut Port<'y>, token: Token) -> io::Result<()> {
        self.os.listen(port.number, token);
        Ok(())
    }

    fn accept(&self, port: &Port<'y>) -> io::Result<(Endpoint<'y>, PeerAddr)> {
        self.os.breathe();
        let sock = self.os.accept(port.number);
        let sock = sock.ok_or(io::ErrorKind::WouldBlock)?;
        let [high, low] = u16::try_from(sock.link).unwrap_or(u16::MAX).to_be_bytes();
        let peer = SocketAddr::from(([10, 1, high, low], 9));
        Ok((self.endpoint(sock, None), peer.into()))
    }

    fn dial(&mut self, addr: &PeerAddr, _options: &SocketOptions) -> io::Result<Endpoint<'y>> {
        let addr = addr.socket_addr().ok_or(io::ErrorKind::Unsupported)?;
        let number = number_of(addr);
        let target = &self.program.targets[number];
        let sock = self.os.dial(target.host, target.port, target.path);
        Ok(self.endpoint(sock, Some(number)))
    }

    fn register(&mut self, endpoint: &mut Endpoint<'y>, token: Token) -> io::Result<()> {
        let (sock, host) = (endpoint.sock, self.os.host);
        let terms = self.terms(sock, endpoint.target);
        let (speech, tick) = (terms.speech, self.program.tick);
        let rules = Rules::new(&terms.heartbeat, &terms.limits, tick);
        let phase = match (endpoint.target, speech) {
            (Some(_), _) => Phase::Connecting,
            (None, Speech::WebSocket) => Phase::Handshaking,
            (None, _) => Phase::Open,
        };
        self.os.world(|world| {
            let name = world.hosts[host].name;
            let about = format!("{name} {:x} {speech:?} {sock:?}", token.0);
            let shortest = world.paths[world.links[sock.link].path].shortest();
            let birth = Birth {
                about,
                rules,
                speech,
                shortest,
                phase,
            };
            world.begin_watch(sock, host, birth);
        });
        self.os.register(sock, token);
        Ok(())
    }

    fn probe(&mut self, endpoint: &Endpoint<'y>, probe: Probe) {
        let (os, sock) = (&self.os, endpoint.sock);
        match probe {
            Probe::Cause(cause) => {
                if os.take_judging() == Some(sock) {
                    os.watch(sock, |watch, now| watch.handle_spared(now, false));
                }
                let now = os.known();
                os.world(|world| {
                    world.note_cause(sock, os.host, now, cause);
                    if cause == Cause::HandshakeTimeout {
                        // The server says so, and the client is turned away.
                        world.allow_refusal(sock.peer());
                    }
                });
            }
            Probe::Decoded { is_left } => {
                os.watch(sock, |watch, now| watch.handle_decoded(now, is_left));
            }
            Probe::Expiry(Note::Silent { is_put_off }) => {
                os.watch(sock, |watch, _| watch.is_put_off = is_put_off);
            }
            Probe::Expiry(Note::Judging) => {
                let truth = os.world(|world| world.truth(sock));
                os.watch(sock, |watch, now| watch.expect_verdict(now, &truth));
                os.begin_judging(sock);
            }
            Probe::Expiry(Note::Spared) => {
                os.take_judging();
                os.watch(sock, |watch, now| watch.handle_spared(now, true));
                os.world(|world| world.meet(Hardship::Spared));
            }
            Probe::HeldBack(is_held) => {
                os.world(|world| world.meet(Hardship::MemoryShort));
                os.watch(sock, |watch, now| watch.handle_held_back(now, is_held));
            }
            Probe::Relieved => os.watch(sock, |watch, now| watch.handle_relieved(now)),
            Probe::Expiry(Note::Waiting) => os.watch(sock, |watch, now| watch.handle_waiting(now)),
        }
    }

    fn probe_expiries(&mut self, at: Micros, is_whole: Option<bool>) {
        match is_whole {
            None => self.os.begin_look(at),
            Some(is_whole) => self.os.end_look(is_whole),
        }
    }
}

/// One end of a connection, as the loop holds it.
#[derive(Debug)]
pub(crate) struct Endpoint<'y> {
    os: Os<'y>,
    pub(super) sock: SockId,
    /// Which of the process's targets was dialed, if one was.
    target: Option<usize>,
    speech: Speech,
    resets: bool,
}

impl Socket for Endpoint<'_> {
    const SHORT_READ_DRAINS: bool = true;

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.os.breathe();
        self.os.read(self.sock, buffer).map_err(error)
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.os.breathe();
        self.os.write(self.sock, slices).map_err(error)
    }

    fn has_waiting_bytes(&self) -> bool {
        self.os.peek(self.sock)
    }

    fn is_connected(&self) -> io::Result<bool> {
        let is_connected = self.os.connected(self.sock).map_err(error)?;
        if is_connected {
            let phase = match self.speech {
                Speech::WebSocket => Phase::Handshaking,
                _ => Phase::Open,
            };
            self.os.watch(self.sock, |watch, now| {
                // The loop may have read its clock a moment ago.
                watch.handle_phase(Watch::before(now), now, phase);
            });
        }
        Ok(is_connected)
    }

    fn shutdown(&self) -> io::Result<()> {
        self.os.shutdown(self.sock);
        Ok(())
    }

    fn reset_on_close(&mut self) {
        self.resets = true;
    }

    fn figures(&self) -> Option<KernelFigures> {
        self.os.figures(self.sock)
    }
}

impl Drop for Endpoint<'_> {
    fn drop(&mut self) {
        // What has failed already needs no other failure.
        if !std::thread::panicking() {
            self.os.close(self.sock, self.resets);
        }
    }
}

/// A listening socket, as the loop holds it.
#[derive(Debug)]
pub(crate) struct Port<'y> {
    os: Os<'y>,
    number: usize,
}

impl Drop for Port<'_> {
    fn drop(&mut self) {
        // As with an end of a connection.
        if !std::thread::panicking() {
            self.os.close_listener(self.number);
        }
    }
}

/// Wakes nobody: what other threads ask for is told with the events of a wait.
#[derive(Debug)]
pub(super) struct Asleep;

impl Wake for Asleep {
    fn wake(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a process listens: its host, and the number of the port.
pub(super) fn listening_address(host: HostId, number: usize) -> SocketAddr {
    address(host, number)
}

/// What stands for one of a process's targets.
pub(super) fn target_address(number: usize) -> SocketAddr {
    address(TARGETS, number)
}

fn address(subnet: usize, number: usize) -> SocketAddr {
    let subnet = u8::try_from(subnet).expect("hosts are few");
    let port = u16::try_from(1 + number).expect("ports are few");
    ([10, 0, 0, subnet], port).into()
}

fn number_of(addr: SocketAddr) -> usize {
    usize::from(addr.port()) - 1
}

fn error(failure: Failure) -> io::Error {
    match failure {
        Failure::WouldBlock => io::ErrorKind::WouldBlock.into(),
        failure => io::Error::from_raw_os_error(failure.errno()),
    }
}

const TARGETS: usize = 255;

/// As promised for clients: a sleep of at least so long is noticed.
const LEAST_SLEEP: Micros = Micros::from_secs(1);
