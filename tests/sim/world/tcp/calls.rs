//! System calls, as the process makes them, and what happens to all sockets of a host.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use heartwheel::close::KernelFigures;

use super::{ENDED, End, FAILED, Failure, Link, Packet, READABLE, Ready, SockId, Stage, WRITABLE};
use crate::world::path::Path;
use crate::world::{Event, HostId, Token, World};

impl World {
    /// Begins a connection.
    pub(crate) fn dial(&mut self, from: HostId, to: HostId, port: usize, path: usize) -> SockId {
        let sizes = self.sizes;
        let mut dialer = End::new(from, Stage::SynSent, sizes);
        dialer.edge = sizes.receive;
        let mut acceptor = End::new(to, Stage::Listening, sizes);
        acceptor.edge = sizes.receive;
        self.links.push(Link {
            path,
            port,
            segment: sizes.segment,
            ends: [dialer, acceptor],
            is_stingy: self.dice.one_in(3),
        });
        let sock = SockId {
            link: self.links.len() - 1,
            side: 0,
        };
        self.send_packet(sock, Packet::Syn);
        self.arm_timer(sock);
        sock
    }

    /// Puts a socket into the poll; what is ready already is told with the next wait.
    pub(crate) fn register(&mut self, sock: SockId, token: Token) {
        let end = self.end_mut(sock);
        end.token = Some(token);
        let mut ready = Ready::default();
        if !end.inbox.is_empty() {
            ready.merge(READABLE);
        }
        if end.eof {
            ready.merge(ENDED);
        }
        if end.error.is_some() {
            ready.merge(FAILED);
        }
        if end.is_writable() {
            ready.merge(WRITABLE);
        }
        if ready != Ready::default() {
            self.tell(sock, ready);
        }
    }

    pub(crate) fn read(&mut self, sock: SockId, into: &mut [u8]) -> Result<usize, Failure> {
        let end = self.end_mut(sock);
        if !end.inbox.is_empty() {
            let before = end.window();
            let count = into.len().min(end.inbox.len());
            for (to, byte) in into.iter_mut().zip(end.inbox.drain(..count)) {
                *to = byte;
            }
            // No window is announced that is not worth it (RFC 9293, section 3.8.6.2.2).
            let (half, after) = (end.room / 2, end.window());
            if before < half && after >= half && end.stage == Stage::Established {
                self.send_ack(sock);
            }
            return Ok(count);
        }
        if let Some(failure) = end.error.take() {
            return Err(failure);
        }
        match end.stage {
            Stage::Established if !end.eof => Err(Failure::WouldBlock),
            Stage::Established | Stage::Dead => Ok(0),
            Stage::Listening | Stage::SynSent | Stage::SynReceived | Stage::Forgotten => {
                Err(Failure::WouldBlock)
            }
        }
    }

    pub(crate) fn write(&mut self, sock: SockId, slices: &[IoSlice<'_>]) -> Result<usize, Failure> {
        let is_stingy = self.links[sock.link].is_stingy && self.dice.one_in(8);
        let cut = self.dice.below(64);
        let end = &mut self.links[sock.link].ends[sock.side];
        if let Some(failure) = end.error.take() {
            return Err(failure);
        }
        if end.stage != Stage::Established || end.fin {
            return Err(Failure::BrokenPipe);
        }
        let offered: u64 = slices.iter().map(|slice| slice.len() as u64).sum();
        let room = end
            .capacity
            .saturating_sub(end.end.saturating_sub(end.acked));
        let mut count = offered.min(room);
        if is_stingy && count > 1 {
            count = 1 + cut.min(count - 1);
        }
        if count < offered {
            end.starved = true;
        }
        if count == 0 {
            return Err(Failure::WouldBlock);
        }
        let mut left = usize::try_from(count).expect("a part of what was offered");
        for slice in slices {
            let part = left.min(slice.len());
            end.out.extend(&slice[..part]);
            left -= part;
        }
        end.end += count;
        if count < offered && count < room {
            let soon = self.now + self.dice.millis(0, 3);
            self.schedule(soon, Event::Room(sock));
        }
        self.transmit(sock);
        Ok(usize::try_from(count).expect("a part of what was offered"))
    }

    /// Looks whether bytes wait, without taking them.
    pub(crate) fn peek(&self, sock: SockId) -> bool {
        !self.end(sock).inbox.is_empty()
    }

    /// Returns what became of a dial: still under way, connected, or failed.
    pub(crate) fn connected(&mut self, sock: SockId) -> Result<bool, Failure> {
        let end = self.end_mut(sock);
        match end.error.take() {
            Some(failure) => Err(failure),
            None => Ok(end.stage == Stage::Established),
        }
    }

    pub(crate) fn shutdown(&mut self, sock: SockId) {
        let end = self.end_mut(sock);
        if end.stage == Stage::Established && !end.fin {
            end.fin = true;
            self.transmit(sock);
        }
    }

    /// Closes a descriptor, with a reset where it is asked for or input is thrown away.
    pub(crate) fn close(&mut self, sock: SockId, with_reset: bool) {
        let end = self.end_mut(sock);
        end.is_held = false;
        end.token = None;
        match end.stage {
            Stage::Established | Stage::SynReceived if with_reset || !end.inbox.is_empty() => {
                end.stage = Stage::Dead;
                self.send_packet(sock, Packet::Rst);
            }
            Stage::Established => self.shutdown(sock),
            Stage::SynSent | Stage::SynReceived => end.stage = Stage::Dead,
            Stage::Listening | Stage::Dead | Stage::Forgotten => {}
        }
    }

    /// Tells what the kernel knows of a socket's output.
    pub(crate) fn figures(&self, sock: SockId) -> KernelFigures {
        let end = self.end(sock);
        let segment = self.links[sock.link].segment;
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        KernelFigures {
            unacked: small((end.sent - end.acked).div_ceil(segment)),
            retransmits: end.tries,
            window: small(end.edge.saturating_sub(end.acked)),
            unsent: small(end.end.saturating_sub(end.sent)),
            queued: small(end.end.saturating_sub(end.acked)),
            mss: small(segment),
            last_ack: Duration::from_millis((self.now - end.last_ack).as_millis()),
            rtt: end.smoothed.into(),
        }
    }

    /// Returns in how many pieces the bytes that wait to arrive are read at most, and the way they take.
    pub(crate) fn backlog(&self, sock: SockId) -> (u64, &Path) {
        let (end, peer) = (self.end(sock), self.end(sock.peer()));
        let window = end.capacity.min(peer.room).clamp(1, LEAST_READ);
        let path = &self.paths[self.links[sock.link].path];
        ((end.end - end.acked.min(end.end)) / window, path)
    }

    pub(crate) fn end(&self, sock: SockId) -> &End {
        &self.links[sock.link].ends[sock.side]
    }

    pub(super) fn end_mut(&mut self, sock: SockId) -> &mut End {
        &mut self.links[sock.link].ends[sock.side]
    }
}

/// What happens to hosts.
impl World {
    /// Lets the kernel close what a killed process held.
    pub(in crate::world) fn close_all(&mut self, host: HostId) {
        for sock in self.ends_of(host) {
            if self.end(sock).is_held {
                self.close(sock, false);
            }
        }
    }

    /// Closes all listeners of a process.
    pub(in crate::world) fn close_ports(&mut self, host: HostId) {
        let ports: Vec<_> = self.hosts[host].ports.keys().copied().collect();
        for port in ports {
            self.close_port(host, port);
        }
    }

    /// Closes the listener of a port, as Linux does: it resets whoever waits to be accepted, and forgets
    /// whoever has not answered yet. Returns how many waited; no listener: nobody.
    pub(in crate::world) fn close_port(&mut self, host: HostId, port: usize) -> usize {
        if self.hosts[host].ports.remove(&port).is_none() {
            return 0;
        }
        for sock in self.ends_of(host) {
            let is_halfway = self.end(sock).stage == Stage::SynReceived;
            if is_halfway && self.links[sock.link].port == port {
                self.note_abandoned(sock);
                self.end_mut(sock).forget_dialer();
            }
        }
        let backlog = std::mem::take(&mut self.hosts[host].backlog);
        let (waiting, others): (VecDeque<_>, _) =
            backlog.into_iter().partition(|one| one.1 == port);
        self.hosts[host].backlog = others;
        for &(sock, _) in &waiting {
            self.note_abandoned(sock);
            self.close(sock, true);
        }
        waiting.len()
    }

    /// Lets a machine forget all its connections without a word.
    pub(in crate::world) fn forget_all(&mut self, host: HostId) {
        for sock in self.ends_of(host) {
            let end = self.end_mut(sock);
            end.is_held = false;
            end.token = None;
            end.stage = Stage::Forgotten;
        }
        self.hosts[host].backlog.clear();
    }

    fn ends_of(&self, host: HostId) -> Vec<SockId> {
        let all = (0..self.links.len()).flat_map(|link| [0, 1].map(|side| SockId { link, side }));
        all.filter(|&sock| self.end(sock).host == host).collect()
    }
}

/// What a process reads in one turn, at least.
const LEAST_READ: u64 = 100;
