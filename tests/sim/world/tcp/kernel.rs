//! What the kernels do by themselves: answer packets, send what the window has room for, try again.

use heartwheel::proto::time::Micros;

use super::{ENDED, FAILED, Failure, Packet, READABLE, Ready, SockId, Stage, WRITABLE};
use crate::world::{Event, Hardship, World};

impl World {
    pub(in crate::world) fn handle_packet(&mut self, to: SockId, packet: Packet) {
        let link = &self.links[to.link];
        let is_lost = self.paths[link.path].to[to.side].is_down;
        let host = link.ends[to.side].host;
        if is_lost || !self.hosts[host].has_kernel() {
            self.meet(if is_lost {
                Hardship::PacketLost
            } else {
                Hardship::NobodyThere
            });
            self.trace(|| format!("{to:?} lost {packet:?}"));
            return;
        }
        match (self.end(to).stage, packet) {
            (Stage::Listening, Packet::Syn) => self.handle_syn(to),
            (Stage::Listening | Stage::Dead | Stage::Forgotten, Packet::Rst) => {}
            (Stage::Listening | Stage::Dead | Stage::Forgotten, _) => {
                self.send_packet(to, Packet::Rst);
            }
            (_, Packet::Rst) => self.handle_reset(to),
            (Stage::SynSent, Packet::SynAck) => self.handle_syn_ack(to),
            (Stage::SynSent, _) => {}
            (_, Packet::Syn) => self.send_packet(to, Packet::SynAck),
            (_, Packet::SynAck | Packet::Probe) => self.send_ack(to),
            (_, Packet::Ack { upto, edge }) => {
                self.establish(to);
                self.handle_ack(to, upto, edge);
            }
            (_, Packet::Data { from, len, fin }) => {
                self.establish(to);
                self.handle_data(to, from, len, fin);
            }
        }
    }

    fn handle_syn(&mut self, to: SockId) {
        let (host, port) = (self.end(to).host, self.links[to.link].port);
        if !self.hosts[host].listens(port) {
            self.send_packet(to, Packet::Rst);
            return;
        }
        self.end_mut(to).stage = Stage::SynReceived;
        self.send_packet(to, Packet::SynAck);
        self.arm_timer(to);
    }

    fn handle_syn_ack(&mut self, to: SockId) {
        let now = self.now;
        let end = self.end_mut(to);
        end.stage = Stage::Established;
        end.tries = 0;
        end.rto = LEAST_RTO;
        end.timer = None;
        end.last_ack = now;
        self.send_ack(to);
        self.tell(to, WRITABLE);
    }

    /// Lets the acceptor have a connection whose dialer has answered.
    fn establish(&mut self, to: SockId) {
        let (now, port) = (self.now, self.links[to.link].port);
        let end = self.end_mut(to);
        if end.stage != Stage::SynReceived {
            return;
        }
        end.stage = Stage::Established;
        end.tries = 0;
        end.rto = LEAST_RTO;
        end.timer = None;
        end.last_ack = now;
        end.is_held = true;
        let host = end.host;
        self.hosts[host].backlog.push_back((to, port));
        self.hosts[host].note_arrival(port);
        self.nudge(host);
    }

    fn handle_reset(&mut self, to: SockId) {
        let end = self.end_mut(to);
        end.error = Some(match end.stage {
            Stage::SynSent => Failure::Refused,
            _ => Failure::Reset,
        });
        end.stage = Stage::Dead;
        end.timer = None;
        self.tell(to, FAILED);
    }

    fn handle_ack(&mut self, to: SockId, upto: u64, edge: u64) {
        let now = self.now;
        let end = self.end_mut(to);
        end.last_ack = now;
        end.edge = end.edge.max(edge);
        if upto > end.acked {
            let bytes = upto.min(end.end) - end.acked.min(end.end);
            end.out
                .drain(..usize::try_from(bytes).expect("bytes in memory"));
            end.acked = upto;
            end.sent = end.sent.max(upto);
            if let Some(sent) = end.timed.take() {
                end.smoothed = now - sent;
            }
            end.rto = LEAST_RTO.max(end.smoothed.saturating_mul(2));
            end.tries = 0;
            end.timer = None;
        } else if end.edge > end.sent && end.sent == end.acked {
            // A window that was closed has opened.
            end.tries = 0;
            end.rto = LEAST_RTO;
            end.timer = None;
        }
        if end.starved && end.is_writable() {
            end.starved = false;
            self.tell(to, WRITABLE);
        }
        self.transmit(to);
    }

    fn handle_data(&mut self, to: SockId, from: u64, len: u64, fin: bool) {
        let end = &self.links[to.link].ends[to.side];
        if !end.is_held && len > 0 {
            // Nobody is there to read it.
            self.end_mut(to).stage = Stage::Dead;
            self.send_packet(to, Packet::Rst);
            return;
        }
        let skip = end.next.saturating_sub(from);
        let fresh = len.saturating_sub(skip).min(end.window());
        let mut ready = Ready::default();
        if from <= end.next && !end.eof {
            let [a, b] = &mut self.links[to.link].ends;
            let (end, peer) = if to.side == 0 { (a, b) } else { (b, a) };
            let begin = usize::try_from(end.next - peer.acked.min(end.next)).expect("in memory");
            let fresh = usize::try_from(fresh).expect("in memory");
            end.inbox.extend(peer.out.range(begin..begin + fresh));
            end.next += fresh as u64;
            if fresh > 0 {
                ready.merge(READABLE);
            }
            if fin && end.next == from + len {
                end.eof = true;
                ready.merge(ENDED);
            }
        }
        if ready != Ready::default() {
            self.tell(to, ready);
        }
        self.send_ack(to);
    }

    /// Sends what the window has room for, and sees that a timer runs while anything is outstanding.
    pub(super) fn transmit(&mut self, from: SockId) {
        let segment = self.links[from.link].segment;
        loop {
            let now = self.now;
            let end = self.end_mut(from);
            if end.stage != Stage::Established {
                return;
            }
            let len = (end.end.saturating_sub(end.sent))
                .min(end.edge.saturating_sub(end.sent))
                .min(segment);
            let fin = end.fin && end.sent + len == end.end && end.sent <= end.end;
            if len == 0 && !fin {
                break;
            }
            if end.sent == end.acked && end.tries == 0 {
                end.timed = Some(now);
            }
            let packet = Packet::Data {
                from: end.sent,
                len,
                fin,
            };
            end.sent += len + u64::from(fin);
            self.send_packet(from, packet);
        }
        if self.end(from).is_backed_up() {
            self.arm_timer(from);
        }
    }

    pub(super) fn send_ack(&mut self, from: SockId) {
        let end = self.end(from);
        let packet = Packet::Ack {
            upto: end.next + u64::from(end.eof),
            edge: end.next + end.window(),
        };
        self.send_packet(from, packet);
    }

    pub(super) fn send_packet(&mut self, from: SockId, packet: Packet) {
        let now = self.now;
        let direction = &self.paths[self.links[from.link].path].to[1 - from.side];
        let (is_down, rate) = (direction.is_down, direction.rate);
        let (delay, jitter) = (direction.delay, direction.jitter);
        if is_down {
            self.meet(Hardship::PacketLost);
            self.trace(|| format!("{from:?} loses {packet:?}"));
            return;
        }
        let jitter = self.dice.span(Micros::ZERO, jitter);
        let end = self.end_mut(from);
        let mut leaves = now;
        if let (Some(rate), Packet::Data { len, .. }) = (rate, packet) {
            end.free = end.free.max(now) + Micros::new(len * 1_000_000 / rate);
            leaves = end.free;
        }
        end.arrives = end.arrives.max(leaves + delay + jitter);
        let arrives = end.arrives;
        self.meet_if(arrives - now >= Micros::from_secs(1), Hardship::LongDelay);
        self.schedule(arrives, Event::Packet(from.peer(), packet));
    }

    pub(super) fn arm_timer(&mut self, sock: SockId) {
        let now = self.now;
        let end = self.end_mut(sock);
        if end.timer.is_none() {
            let due = now + end.rto;
            end.timer = Some(due);
            self.schedule(due, Event::Timer(sock));
        }
    }

    pub(in crate::world) fn handle_timer(&mut self, sock: SockId) {
        let now = self.now;
        let host = self.end(sock).host;
        if self.end(sock).timer != Some(now) {
            return;
        }
        self.end_mut(sock).timer = None;
        if !self.hosts[host].has_kernel() {
            // A sleeping machine's timers wait with it.
            self.arm_timer(sock);
            return;
        }
        let end = self.end_mut(sock);
        let packet = match end.stage {
            Stage::Listening | Stage::Dead | Stage::Forgotten => return,
            Stage::SynSent => Packet::Syn,
            Stage::SynReceived => Packet::SynAck,
            Stage::Established if end.sent > end.acked => {
                end.sent = end.acked;
                Packet::Rst
            }
            Stage::Established if end.is_backed_up() => Packet::Probe,
            Stage::Established => return,
        };
        end.tries += 1;
        end.rto = end.rto.saturating_mul(2).min(LONGEST_RTO);
        end.timed = None;
        let is_over = end.tries > MOST_TRIES;
        let is_open = end.stage == Stage::Established;
        if is_over {
            end.stage = Stage::Dead;
            end.error = Some(Failure::TimedOut);
            self.tell(sock, FAILED);
            return;
        }
        self.meet_if(is_open, Hardship::Retransmission);
        match packet {
            // Stands for sending again all that was not acknowledged.
            Packet::Rst => self.transmit(sock),
            packet => self.send_packet(sock, packet),
        }
        self.arm_timer(sock);
    }

    pub(in crate::world) fn handle_room(&mut self, sock: SockId) {
        let end = self.end_mut(sock);
        if end.starved && end.is_writable() {
            end.starved = false;
            self.tell(sock, WRITABLE);
        }
    }

    /// Lets the poll of a socket's owner know.
    pub(super) fn tell(&mut self, sock: SockId, ready: Ready) {
        let end = self.end(sock);
        if let Some(token) = end.token {
            let host = end.host;
            self.hosts[host].note(token, ready);
            self.nudge(host);
        }
    }
}

const LEAST_RTO: Micros = Micros::from_millis(200);
const LONGEST_RTO: Micros = Micros::from_secs(60);
/// Retransmissions after which a kernel gives up; with the longest timeout that is about ten minutes.
const MOST_TRIES: u32 = 15;
