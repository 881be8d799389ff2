//! Counters: plain integers, read as a snapshot.

mod histogram;

use std::time::Duration;

pub use histogram::Histogram;

use crate::close::Cause;

/// What happened since the reactor was made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Connections accepted.
    pub accepted: u64,
    /// Connections dialed.
    pub dialed: u64,
    /// Connections that opened; each called `on_open`.
    pub opened: u64,
    /// Connections that ended before they opened; each called `on_rejected`.
    pub rejected: u64,
    /// Plain HTTP requests answered. One connection may carry several.
    pub answered: u64,
    /// Connections and plain HTTP requests that waited for a handler that decides later.
    pub deferred: u64,
    /// The same that were refused because too many waited.
    pub deferrals_refused: u64,
    /// Answers of other threads that nobody waited for any more.
    pub answers_missed: u64,
    /// Pings scheduled.
    pub pings_due: u64,
    /// Pings that the kernel accepted completely.
    pub pings_written: u64,
    /// How late scheduled pings were written: from when the ping was due (moved by the slack, if
    /// there is one) until the kernel accepted it. Delays caused by a slow peer are included.
    pub ping_lateness: Histogram,
    /// Round-trip times: from when the kernel accepted a ping until its answer was read.
    pub rtt: Histogram,
    /// How late peers were found silent: from when their deadline was over, with what they were forgiven for
    /// delays of ours, until the verdict.
    pub verdict_lateness: Histogram,
    /// How late turns of the loop were, and how long; see [`Turn::delay`](crate::event_loop::Turn::delay).
    pub loop_delay: Histogram,
    /// Pings that peers sent.
    pub pings_received: u64,
    /// Pongs that answered one of our pings.
    pub pongs_matched: u64,
    /// Unsolicited pongs. They are legal and answer nothing (RFC 6455, section 5.5.3).
    pub pongs_unsolicited: u64,
    /// Pongs with a wrong payload: one of our pings was unanswered, but the payload was of none of
    /// our pings. A peer that sends such pongs breaks RFC 6455, section 5.5.3. Always 0 on the line
    /// and binary wires, whose pongs have no payload.
    pub pongs_mismatched: u64,
    /// Pongs that we owed but did not send separately, because output was blocked: a newer pong
    /// answered for them, or they were dropped.
    pub pongs_folded: u64,
    /// Complete messages received.
    pub messages_in: u64,
    /// Messages queued for output.
    pub messages_out: u64,
    /// Compressed messages received.
    pub messages_inflated: u64,
    /// Bytes of their payload as it came.
    pub inflated_from: u64,
    /// Bytes of the messages that it became.
    pub inflated_to: u64,
    /// Messages queued for output that were compressed.
    pub messages_deflated: u64,
    /// Their bytes before that.
    pub deflated_from: u64,
    /// Bytes that were left to send.
    pub deflated_to: u64,
    /// Bytes read from sockets.
    pub bytes_in: u64,
    /// Bytes written to sockets.
    pub bytes_out: u64,
    /// Messages not queued because the send queue was full and the kernel accepted no more.
    pub send_full: u64,
    /// Messages of other threads that were taken from their queue and could not be delivered; each called
    /// `on_undelivered`.
    pub undelivered: u64,
    /// Writes of which the kernel accepted nothing or only a part, because the socket's buffer is
    /// full. One connection has at most one such write between two waits.
    pub writes_refused: u64,
    /// Bytes of memory that connections hold for messages in transit: storage of received bytes,
    /// unfinished messages, send queues, what the embedder
    /// [holds](crate::reactor::Context::set_held) for them, and large buffers that are about to be
    /// freed; and topics with their subscriptions. Bytes of a broadcast count once, and so does the
    /// name of a topic. As of the end of the last turn.
    pub memory: u64,
    /// Topics that somebody subscribes to. A topic that several loops of a group have counts once for each.
    /// As of the end of the last turn.
    pub topics: u64,
    /// Subscriptions: for each topic the number of its subscribers. As of the end of the last turn.
    pub subscriptions: u64,
    /// Subscriptions of other threads that failed when the loop took the call.
    pub subscriptions_missed: u64,
    /// How often reading from a connection stopped because memory was short.
    pub memory_pauses: u64,
    /// Turns of the loop.
    pub turns: u64,
    /// Sum of all delays of the loop; see
    /// [`Lateness::total`](crate::proto::lateness::Lateness::total). Deadlines of peers are put off
    /// by the longest single delay, not by this sum.
    pub late: Duration,
    /// Share of the last ten seconds, roughly, in which the loop was not late, in thousandths.
    /// Below 1000, verdicts come later than configured. Far below 1000, the machine is too small or
    /// a callback is too slow.
    pub health: u32,
    /// How often the machine slept and we noticed.
    pub sleeps: u64,
    /// How often a listener ran out of room for new connections, because there were no descriptors
    /// left or `max_connections` was reached. Several shortages count once, until there was room
    /// for half a minute.
    pub accept_pauses: u64,
    /// How often reading from a connection paused because of
    /// [`messages_per_second`](crate::config::LimitsConfig::messages_per_second) or
    /// [`bytes_per_second`](crate::config::LimitsConfig::bytes_per_second).
    pub rate_pauses: u64,
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
            deferred: 0,
            deferrals_refused: 0,
            answers_missed: 0,
            pings_due: 0,
            pings_written: 0,
            ping_lateness: Histogram::default(),
            rtt: Histogram::default(),
            verdict_lateness: Histogram::default(),
            loop_delay: Histogram::default(),
            pings_received: 0,
            pongs_matched: 0,
            pongs_unsolicited: 0,
            pongs_mismatched: 0,
            pongs_folded: 0,
            messages_in: 0,
            messages_out: 0,
            messages_inflated: 0,
            inflated_from: 0,
            inflated_to: 0,
            messages_deflated: 0,
            deflated_from: 0,
            deflated_to: 0,
            bytes_in: 0,
            bytes_out: 0,
            send_full: 0,
            undelivered: 0,
            writes_refused: 0,
            memory: 0,
            topics: 0,
            subscriptions: 0,
            subscriptions_missed: 0,
            memory_pauses: 0,
            turns: 0,
            late: Duration::ZERO,
            health: 1_000,
            sleeps: 0,
            accept_pauses: 0,
            rate_pauses: 0,
            closed: [0; Cause::ALL.len()],
        }
    }
}

impl Stats {
    /// Returns how many connections ended with this cause, whether they had opened or not.
    pub fn closed(&self, cause: Cause) -> u64 {
        self.closed[cause.index()]
    }

    /// Adds the counters of another loop. `health` becomes the lower of the two.
    pub fn merge(&mut self, other: &Self) {
        let Self {
            accepted,
            dialed,
            opened,
            rejected,
            answered,
            deferred,
            deferrals_refused,
            answers_missed,
            pings_due,
            pings_written,
            ping_lateness,
            rtt,
            verdict_lateness,
            loop_delay,
            pings_received,
            pongs_matched,
            pongs_unsolicited,
            pongs_mismatched,
            pongs_folded,
            messages_in,
            messages_out,
            messages_inflated,
            inflated_from,
            inflated_to,
            messages_deflated,
            deflated_from,
            deflated_to,
            bytes_in,
            bytes_out,
            send_full,
            undelivered,
            writes_refused,
            memory,
            topics,
            subscriptions,
            subscriptions_missed,
            memory_pauses,
            turns,
            late,
            health,
            sleeps,
            accept_pauses,
            rate_pauses,
            closed,
        } = other;
        self.accepted += accepted;
        self.dialed += dialed;
        self.opened += opened;
        self.rejected += rejected;
        self.answered += answered;
        self.deferred += deferred;
        self.deferrals_refused += deferrals_refused;
        self.answers_missed += answers_missed;
        self.pings_due += pings_due;
        self.pings_written += pings_written;
        self.ping_lateness.merge(ping_lateness);
        self.rtt.merge(rtt);
        self.verdict_lateness.merge(verdict_lateness);
        self.loop_delay.merge(loop_delay);
        self.pings_received += pings_received;
        self.pongs_matched += pongs_matched;
        self.pongs_unsolicited += pongs_unsolicited;
        self.pongs_mismatched += pongs_mismatched;
        self.pongs_folded += pongs_folded;
        self.messages_in += messages_in;
        self.messages_out += messages_out;
        self.messages_inflated += messages_inflated;
        self.inflated_from += inflated_from;
        self.inflated_to += inflated_to;
        self.messages_deflated += messages_deflated;
        self.deflated_from += deflated_from;
        self.deflated_to += deflated_to;
        self.bytes_in += bytes_in;
        self.bytes_out += bytes_out;
        self.send_full += send_full;
        self.undelivered += undelivered;
        self.writes_refused += writes_refused;
        self.memory += memory;
        self.topics += topics;
        self.subscriptions += subscriptions;
        self.subscriptions_missed += subscriptions_missed;
        self.memory_pauses += memory_pauses;
        self.turns += turns;
        self.late += *late;
        self.health = self.health.min(*health);
        self.sleeps += sleeps;
        self.accept_pauses += accept_pauses;
        self.rate_pauses += rate_pauses;
        for (sum, count) in self.closed.iter_mut().zip(closed) {
            *sum += count;
        }
    }

    /// Returns each cause that occurred, with its count.
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
