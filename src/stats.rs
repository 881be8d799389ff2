//! Counters: plain integers, read by snapshot.

mod histogram;

use std::time::Duration;

pub use histogram::Histogram;

use crate::close::Cause;

/// What happened since the reactor was made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections accepted by the kernel and taken by us.
    pub accepted: u64,
    /// Connections dialed.
    pub dialed: u64,
    /// Connections that opened: `on_open` ran.
    pub opened: u64,
    /// Connections that ended without having opened: `on_rejected` ran.
    pub rejected: u64,
    /// Plain HTTP requests answered; several may come on one connection.
    pub answered: u64,
    /// Pings the grid called for.
    pub pings_due: u64,
    /// Pings the kernel accepted whole.
    pub pings_written: u64,
    /// How late the pings that the grid calls for were written: from the moment that each was due, moved
    /// by the slack where there is one, to that at which the kernel accepted it. What the peer's own
    /// slowness holds up is in here too.
    pub ping_lateness: Histogram,
    /// Pings the peers sent.
    pub pings_received: u64,
    /// Pongs that answered a ping of ours.
    pub pongs_matched: u64,
    /// Pongs nobody asked for: legal, and no answer to anything (RFC 6455, section 5.5.3).
    pub pongs_unsolicited: u64,
    /// Pongs with a wrong payload: they came while a ping of ours waited for its answer, and brought back
    /// none of our payloads. A peer that sends them does not answer as RFC 6455, section 5.5.3, demands.
    /// Always 0 for the line and binary wires, whose pongs have no payload.
    pub pongs_mismatched: u64,
    /// Owed pongs folded into a newer one, or dropped, because output was blocked.
    pub pongs_folded: u64,
    /// Messages received whole.
    pub messages_in: u64,
    /// Messages queued for output.
    pub messages_out: u64,
    /// Bytes read from sockets.
    pub bytes_in: u64,
    /// Bytes written to sockets.
    pub bytes_out: u64,
    /// Messages not queued because the send queue was full, and the kernel took no more of it.
    pub send_full: u64,
    /// Writes of which the kernel took nothing, or only a part: its own buffer for the socket is full. For
    /// one connection there is at most one such write between two waits.
    pub writes_refused: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// The loop's own lateness, all of it summed; see
    /// [`Lateness::total`](crate::proto::lateness::Lateness::total). Peers are forgiven the longest single
    /// interval of it, not this sum.
    pub late: Duration,
    /// Share of the last ten seconds or so that the loop was not late, thousandths. Below 1000 its
    /// verdicts come later than configured; far below, the machine is too small or a callback too slow.
    pub health: u32,
    /// Times that the machine was found to have slept.
    pub sleeps: u64,
    /// Times that a listener began to have no room for newcomers, for want of descriptors or because
    /// there were as many connections as there may be: once an episode, which is over after half a minute
    /// without.
    pub accept_pauses: u64,
    closed: [u64; Cause::ALL.len()],
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            accepted: 0,
            dialed: 0,
            opened: 0,
            rejected: 0,
            answered: 0,
            pings_due: 0,
            pings_written: 0,
            ping_lateness: Histogram::default(),
            pings_received: 0,
            pongs_matched: 0,
            pongs_unsolicited: 0,
            pongs_mismatched: 0,
            pongs_folded: 0,
            messages_in: 0,
            messages_out: 0,
            bytes_in: 0,
            bytes_out: 0,
            send_full: 0,
            writes_refused: 0,
            turns: 0,
            late: Duration::ZERO,
            health: 1_000,
            sleeps: 0,
            accept_pauses: 0,
            closed: [0; Cause::ALL.len()],
        }
    }
}

impl Stats {
    /// Returns how many connections ended with this cause, opened or not.
    pub fn closed(&self, cause: Cause) -> u64 {
        self.closed[cause.index()]
    }

    /// Adds what another loop counted. The health is that of the worse one.
    pub fn merge(&mut self, other: &Self) {
        let Self {
            accepted,
            dialed,
            opened,
            rejected,
            answered,
            pings_due,
            pings_written,
            ping_lateness,
            pings_received,
            pongs_matched,
            pongs_unsolicited,
            pongs_mismatched,
            pongs_folded,
            messages_in,
            messages_out,
            bytes_in,
            bytes_out,
            send_full,
            writes_refused,
            turns,
            late,
            health,
            sleeps,
            accept_pauses,
            closed,
        } = other;
        self.accepted += accepted;
        self.dialed += dialed;
        self.opened += opened;
        self.rejected += rejected;
        self.answered += answered;
        self.pings_due += pings_due;
        self.pings_written += pings_written;
        self.ping_lateness.merge(ping_lateness);
        self.pings_received += pings_received;
        self.pongs_matched += pongs_matched;
        self.pongs_unsolicited += pongs_unsolicited;
        self.pongs_mismatched += pongs_mismatched;
        self.pongs_folded += pongs_folded;
        self.messages_in += messages_in;
        self.messages_out += messages_out;
        self.bytes_in += bytes_in;
        self.bytes_out += bytes_out;
        self.send_full += send_full;
        self.writes_refused += writes_refused;
        self.turns += turns;
        self.late += *late;
        self.health = self.health.min(*health);
        self.sleeps += sleeps;
        self.accept_pauses += accept_pauses;
        for (sum, count) in self.closed.iter_mut().zip(closed) {
            *sum += count;
        }
    }

    /// Returns every cause that occurred, with its count.
    pub fn causes(&self) -> impl Iterator<Item = (Cause, u64)> + '_ {
        Cause::ALL
            .iter()
            .map(|&cause| (cause, self.closed(cause)))
            .filter(|&(_, count)| count > 0)
    }

    pub(crate) fn count_end(&mut self, cause: Cause) {
        self.closed[cause.index()] += 1;
    }
}
