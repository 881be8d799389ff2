//! A socket of which a test holds the other end.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::rc::Rc;

use heartwheel::close::KernelFigures;
use heartwheel::sys::{Probe, Ready, Socket, Token};

use super::{Edges, Plug};

/// The loop's end.
#[derive(Debug)]
pub(crate) struct Pipe(Rc<RefCell<State>>);

/// The other end.
#[derive(Clone, Debug)]
pub(crate) struct Far(Rc<RefCell<State>>);

/// How the loop has ended its side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Not at all.
    Held,
    /// Its output is over.
    Shut,
    /// The socket is closed.
    Closed,
    /// So it is, with a reset.
    Reset,
}

#[derive(Debug)]
struct State {
    /// Who it is to the test.
    number: usize,
    token: Option<Token>,
    edges: Edges,
    /// A dial is not under way any more.
    is_connected: bool,
    /// Bytes on their way to the loop.
    arrived: Vec<u8>,
    /// The other end is at its end.
    is_over: bool,
    /// What the next call fails with: a number of the system's.
    failure: Option<i32>,
    /// Most bytes that one read gets. The rest arrives right behind it.
    chunk: usize,
    /// Bytes that it still takes.
    room: usize,
    /// A write was refused, in whole or in part.
    is_starved: bool,
    /// Bytes that the loop has written.
    written: Vec<u8>,
    fate: Fate,
    resets: bool,
    figures: Option<KernelFigures>,
    probes: Vec<Probe>,
    is_probed: bool,
}

impl Pipe {
    /// Makes both ends of a connection that is there, or that is being dialed.
    pub(crate) fn new(number: usize, is_connected: bool) -> (Self, Far) {
        let state = Rc::new(RefCell::new(State {
            number,
            token: None,
            edges: Edges::default(),
            is_connected,
            arrived: Vec::new(),
            is_over: false,
            failure: None,
            chunk: usize::MAX,
            room: usize::MAX,
            is_starved: false,
            written: Vec::new(),
            fate: Fate::Held,
            resets: false,
            figures: None,
            probes: Vec::new(),
            is_probed: false,
        }));
        (Self(Rc::clone(&state)), Far(state))
    }
}

impl State {
    fn note(&self, ready: Ready) {
        if let Some(token) = self.token {
            self.edges.note(token, ready);
        }
    }

    /// Returns what the socket is ready for.
    fn ready(&self) -> Ready {
        let failed = self.failure.is_some();
        let doubtful = self.is_over || failed;
        Ready {
            readable: !self.arrived.is_empty() || doubtful,
            writable: failed || (self.is_connected && self.room > 0),
            doubtful,
            failed,
            write_closed: failed,
        }
    }
}

/// What the peer and the kernels do.
impl Far {
    /// Lets the dial have come through.
    pub(crate) fn connect(&self) {
        self.0.borrow_mut().is_connected = true;
        self.note_writable();
    }

    /// Lets bytes arrive.
    pub(crate) fn send(&self, bytes: &[u8]) {
        self.send_unnoticed(bytes);
        self.note();
    }

    /// Lets bytes arrive so late in a wait that its events do not tell of them: [`note`](Self::note) does.
    pub(crate) fn send_unnoticed(&self, bytes: &[u8]) {
        self.0.borrow_mut().arrived.extend_from_slice(bytes);
    }

    /// Tells of what has arrived.
    pub(crate) fn note(&self) {
        let state = self.0.borrow();
        let ready = Ready {
            writable: false,
            ..state.ready()
        };
        state.note(ready);
    }

    /// Loses the last bytes on their way that were not read.
    pub(crate) fn lose(&self, count: usize) {
        let arrived = &mut self.0.borrow_mut().arrived;
        arrived.truncate(arrived.len().saturating_sub(count));
    }

    /// Returns how many bytes lie unread.
    pub(crate) fn unread(&self) -> usize {
        self.0.borrow().arrived.len()
    }

    /// Ends the other side's output, behind what has arrived.
    pub(crate) fn end(&self) {
        self.0.borrow_mut().is_over = true;
        self.note();
    }

    /// Lets the socket fail, and what has not been read be gone.
    pub(crate) fn fail(&self, errno: i32) {
        let mut state = self.0.borrow_mut();
        state.failure = Some(errno);
        state.arrived.clear();
        state.note(state.ready());
    }

    /// Lets the next call fail, and the ones behind it find the end: no event has told of it yet.
    pub(crate) fn fail_unnoticed(&self, errno: i32) {
        let mut state = self.0.borrow_mut();
        state.failure = Some(errno);
        state.is_over = true;
        state.arrived.clear();
    }

    pub(crate) fn set_chunk(&self, most: usize) {
        self.0.borrow_mut().chunk = most;
    }

    /// Lets the socket take so many bytes from now on.
    pub(crate) fn set_room(&self, room: usize) {
        self.0.borrow_mut().room = room;
        self.note_writable();
    }

    /// A hint, as all edges are: a write may still be refused.
    fn note_writable(&self) {
        let mut state = self.0.borrow_mut();
        if state.room > 0 {
            state.is_starved = false;
            state.note(Ready {
                writable: true,
                ..Ready::default()
            });
        }
    }

    pub(crate) fn set_figures(&self, figures: Option<KernelFigures>) {
        self.0.borrow_mut().figures = figures;
    }

    /// Takes what the loop has written.
    pub(crate) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.borrow_mut().written)
    }

    /// Says whether a write was refused that is not known to have room since.
    pub(crate) fn is_starved(&self) -> bool {
        self.0.borrow().is_starved
    }

    pub(crate) fn fate(&self) -> Fate {
        self.0.borrow().fate
    }

    /// Says whether the loop has let the socket go.
    pub(crate) fn is_closed(&self) -> bool {
        matches!(self.fate(), Fate::Closed | Fate::Reset)
    }

    /// Keeps what the loop says it has done, from now on, and returns what it has so far.
    pub(crate) fn take_probes(&self) -> Vec<Probe> {
        let mut state = self.0.borrow_mut();
        state.is_probed = true;
        std::mem::take(&mut state.probes)
    }
}

impl Plug for Pipe {
    fn register(&mut self, token: Token, edges: &Edges) {
        let mut state = self.0.borrow_mut();
        state.token = Some(token);
        state.edges = edges.clone();
        let ready = state.ready();
        if ready != Ready::default() {
            state.note(ready);
        }
    }

    fn probe(&self, probe: Probe) {
        let mut state = self.0.borrow_mut();
        if state.is_probed {
            state.probes.push(probe);
        }
    }
}

impl Socket for Pipe {
    const SHORT_READ_DRAINS: bool = true;

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.borrow_mut();
        if let Some(errno) = state.failure.take() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let count = state.arrived.len().min(buffer.len()).min(state.chunk);
        if count == 0 {
            return match state.is_over {
                true => Ok(0),
                false => Err(io::ErrorKind::WouldBlock.into()),
            };
        }
        buffer[..count].copy_from_slice(&state.arrived[..count]);
        state.arrived.drain(..count);
        if count < buffer.len() && !state.arrived.is_empty() {
            state.note(Ready {
                readable: true,
                ..Ready::default()
            });
        }
        Ok(count)
    }

    fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.0.borrow_mut();
        if let Some(errno) = state.failure.take() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let count = state.arrived.len().min(buffer.len());
        buffer[..count].copy_from_slice(&state.arrived[..count]);
        match count {
            0 if !state.is_over => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    fn write(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut state = self.0.borrow_mut();
        if let Some(errno) = state.failure.take() {
            return Err(io::Error::from_raw_os_error(errno));
        }
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let count = offered.min(state.room);
        if state.written.is_empty() && count > 0 {
            state.edges.note_spoken(state.number);
        }
        let mut left = count;
        for slice in slices {
            let part = left.min(slice.len());
            state.written.extend_from_slice(&slice[..part]);
            left -= part;
        }
        if state.room < usize::MAX {
            state.room -= count;
        }
        state.is_starved = count < offered;
        match count {
            0 => Err(io::ErrorKind::WouldBlock.into()),
            count => Ok(count),
        }
    }

    fn has_waiting_bytes(&self) -> bool {
        !self.0.borrow().arrived.is_empty()
    }

    fn is_connected(&self) -> io::Result<bool> {
        let mut state = self.0.borrow_mut();
        match state.failure.take() {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(state.is_connected),
        }
    }

    fn shutdown(&self) -> io::Result<()> {
        let mut state = self.0.borrow_mut();
        assert_eq!(state.fate, Fate::Held, "a direction ends once");
        state.fate = Fate::Shut;
        Ok(())
    }

    fn reset_on_close(&mut self) {
        self.0.borrow_mut().resets = true;
    }

    fn figures(&self) -> Option<KernelFigures> {
        self.0.borrow().figures
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        let mut state = self.0.borrow_mut();
        state.token = None;
        state.fate = match state.resets {
            true => Fate::Reset,
            false => Fate::Closed,
        };
    }
}
