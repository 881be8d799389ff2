//! Writing: what is queued leaves at the end of the turn, and sockets go that are done.

use std::io::IoSlice;

use heartwheel::close::Phase;
use heartwheel::proto::session::SocketAction;
use heartwheel::proto::time::Moment;

use super::input::is_reset;
use super::{Conn, Process};
use crate::world::Hardship;
use crate::world::tcp::Failure;

impl Process {
    pub(super) async fn flush_dirty(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for key in dirty.drain(..) {
            self.flush(key).await;
        }
        // What was marked meanwhile is flushed in the next pass.
        dirty.append(&mut self.dirty);
        self.dirty = dirty;
    }

    pub(super) async fn flush(&mut self, key: usize) {
        let Some(conn) = self.conns.get_mut(key) else {
            return;
        };
        conn.flags.dirty = false;
        if conn.session.phase() != Phase::Connecting
            && let Err(failure) = self.write(key).await
        {
            self.write_failed(key, failure);
        }
        self.note_cause(key);
        loop {
            let conn = &mut self.conns[key];
            match conn.session.socket_action() {
                SocketAction::Keep => break,
                SocketAction::ShutdownWrite => self.os.shutdown(conn.sock),
                SocketAction::Close => {
                    self.doom(key);
                    return;
                }
                SocketAction::Reset => {
                    if let Some(figures) = self.os.figures(conn.sock) {
                        conn.session.handle_kernel_figures(figures);
                    }
                    conn.flags.resets = true;
                    self.doom(key);
                    return;
                }
            }
        }
        self.conns[key].session.release(&mut self.env);
        self.rearm(key);
    }

    /// As `Core::offer` of the reactor: within a callback, because a message has no room.
    pub(super) fn offer(&mut self, key: usize) {
        let flags = &mut self.conns[key].flags;
        if flags.refused || flags.broken {
            return;
        }
        flags.writable = true;
        self.refresh_now();
        self.os.world(|world| world.meet(Hardship::FullQueue));
        self.conns[key].session.handle_writable();
        loop {
            match self.write_once(key) {
                Ok(true) => {}
                Ok(false) => return,
                Err(failure) => return self.write_failed(key, failure),
            }
        }
    }

    /// Lets refused writes be tried again, after a wait.
    pub(super) fn forget_refusals(&mut self) {
        for (_, conn) in &mut self.conns {
            conn.flags.refused = false;
        }
    }

    /// Writes what is queued until it is gone or the socket takes no more.
    async fn write(&mut self, key: usize) -> Result<(), Failure> {
        if self.conns[key].flags.writable {
            self.conns[key].session.handle_writable();
        }
        loop {
            self.os.breathe().await;
            if !self.write_once(key)? {
                return Ok(());
            }
        }
    }

    /// Writes once, if there is something to write and the socket may take it; says whether it did.
    fn write_once(&mut self, key: usize) -> Result<bool, Failure> {
        let conn = &mut self.conns[key];
        if !conn.flags.writable || !conn.session.has_output() {
            return Ok(false);
        }
        let mut slices = [IoSlice::new(&[]); SLICES];
        let count = conn.session.slices(&mut slices);
        let offered: usize = slices[..count].iter().map(|slice| slice.len()).sum();
        let written = self.os.write(conn.sock, &slices[..count]);
        if let Ok(written) = written {
            conn.session
                .handle_written(&mut self.env, self.now, written);
        }
        let is_refused = match written {
            Ok(written) => written < offered,
            Err(failure) => failure == Failure::WouldBlock,
        };
        if is_refused {
            assert!(!conn.flags.refused, "#{key} is refused twice in a turn");
            conn.flags.refused = true;
            conn.session.handle_blocked();
        }
        conn.flags.writable &= !is_refused && written.is_ok();
        match written {
            Err(Failure::WouldBlock) | Ok(_) => Ok(true),
            Err(failure) => Err(failure),
        }
    }

    /// A write failed. What the peer said before is still to be read; the reading then ends it, or a
    /// second failure does.
    fn write_failed(&mut self, key: usize, failure: Failure) {
        let conn = &mut self.conns[key];
        let was_reset = failure == Failure::Reset;
        if conn.flags.reset || conn.flags.eof || conn.session.is_paused() {
            conn.fail(self.now, failure);
            return;
        }
        conn.flags.reset |= was_reset;
        conn.flags.broken = true;
        conn.flags.readable = true;
        conn.flags.ending = true;
        if !is_reset(failure) {
            conn.fail(self.now, failure);
            return;
        }
        self.carry(key);
    }
}

impl Conn {
    /// Says whether a write has failed, and reading is to end it.
    pub(super) fn is_lost(&self) -> bool {
        self.flags.broken && self.flags.carried
    }

    /// Ends the session, whose established socket failed.
    pub(super) fn fail(&mut self, now: Moment, failure: Failure) {
        let errno = Some(failure.errno());
        match failure {
            Failure::TimedOut | Failure::Refused => self.session.handle_path_error(now, errno),
            _ => self.session.handle_io_error(now, errno, is_reset(failure)),
        }
    }
}

const SLICES: usize = 16;
