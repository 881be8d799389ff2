//! Messages for a client that has no open connection: kept in order, within limits, until it has one.

use std::collections::VecDeque;
use std::time::Duration;

use crate::error::{ConfigError, SendError};
use crate::proto::message::Message;
use crate::proto::time::Micros;
use crate::proto::wire::MessageKind;

/// What is kept of the messages that [`Context::send_client`](crate::Context::send_client) is given
/// while the client has no open connection.
///
/// They are sent when it opens, in their order, before
/// [`on_open`](crate::Handler::on_open) and all that is sent later, even if they take more than
/// [`send_queue`](crate::config::LimitsConfig::send_queue). A message that was given to a connection
/// is not kept: if that connection ends, the record of its end says how many bytes were dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueConfig {
    /// Most messages. Default 1000.
    pub max_messages: usize,
    /// Most bytes of all messages together, each counted with 64 bytes more. They count against
    /// [`memory_limit`](crate::config::ReactorConfig::memory_limit), and there is no room either if
    /// that would be exceeded. Default 1 MiB.
    pub max_bytes: usize,
    /// What happens to a message for which there is no room. Default: the oldest are dropped.
    pub overflow: QueueOverflow,
    /// Longest time that a message waits. One that is older when the client opens, or when there is
    /// no room for another one, is dropped. Default `None`: no limit.
    pub max_age: Option<Duration>,
}

/// What happens to a message for which the queue of a client has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QueueOverflow {
    /// The oldest messages are dropped until there is room.
    DropOldest,
    /// The new message is dropped. One that is too long for the empty queue is refused all the same.
    DropNewest,
    /// The new message is refused with [`SendError::Full`], and nothing is dropped.
    Refuse,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self {
            max_messages: 1000,
            max_bytes: 1024 * 1024,
            overflow: QueueOverflow::DropOldest,
            max_age: None,
        }
    }
}

impl QueueConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.max_messages == 0 {
            return Err(ConfigError::new("max_messages", "must be at least 1"));
        }
        if self.max_bytes <= BESIDE {
            return Err(ConfigError::new("max_bytes", "must be more than 64"));
        }
        if self.max_age.is_some_and(|age| age.is_zero()) {
            return Err(ConfigError::new("max_age", "must not be zero"));
        }
        Ok(())
    }
}

/// The queue of one client.
#[derive(Debug, Default)]
pub(in crate::event_loop) struct Queue {
    kept: VecDeque<Kept>,
    bytes: usize,
    lost: Lost,
}

#[derive(Debug)]
struct Kept {
    since: Micros,
    kind: MessageKind,
    data: Box<[u8]>,
}

/// How many messages were not sent, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lost {
    /// There was no room.
    pub overflow: u64,
    /// They waited longer than [`max_age`](QueueConfig::max_age).
    pub too_old: u64,
    /// The wire could not carry them.
    pub unfit: u64,
    /// The client stopped before it had a connection.
    pub stopped: u64,
}

impl Queue {
    /// Keeps a message, if it finds room or the policy makes some; `most` are the bytes that there may be
    /// for all.
    pub(in crate::event_loop) fn push(
        &mut self,
        config: &QueueConfig,
        now: Micros,
        message: Message<'_>,
        most: usize,
    ) -> Result<(), SendError> {
        let cost = message.data().len().saturating_add(BESIDE);
        let limit = config.max_bytes.min(most);
        if cost > config.max_bytes {
            let queued = self.bytes;
            return Err(SendError::Full { queued, limit });
        }
        if !self.has_room(config, limit, cost) {
            self.drop_old(config, now);
        }
        let makes_room = config.overflow == QueueOverflow::DropOldest && cost <= limit;
        while makes_room && !self.has_room(config, limit, cost) && self.take_first().is_some() {
            self.lost.overflow += 1;
        }
        if self.has_room(config, limit, cost) {
            self.bytes += cost;
            self.kept.push_back(Kept {
                since: now,
                kind: message.kind(),
                data: message.data().into(),
            });
            return Ok(());
        }
        match config.overflow {
            QueueOverflow::DropNewest => {
                self.lost.overflow += 1;
                Ok(())
            }
            QueueOverflow::DropOldest | QueueOverflow::Refuse => Err(SendError::Full {
                queued: self.bytes,
                limit,
            }),
        }
    }

    /// Takes the first message that is not too old, to send it.
    pub(in crate::event_loop) fn pop(
        &mut self,
        config: &QueueConfig,
        now: Micros,
    ) -> Option<(MessageKind, Box<[u8]>)> {
        self.drop_old(config, now);
        let kept = self.take_first()?;
        Some((kept.kind, kept.data))
    }

    /// Notes that a message could not be sent.
    pub(in crate::event_loop) fn note_unfit(&mut self) {
        self.lost.unfit += 1;
    }

    /// Loses all that is kept, for the client stops.
    pub(in crate::event_loop) fn give_up(&mut self) {
        self.lost.stopped += self.kept.len() as u64;
        self.kept = VecDeque::new();
        self.bytes = 0;
    }

    /// Returns what was lost since this was asked last, if anything was.
    pub(in crate::event_loop) fn take_lost(&mut self) -> Option<Lost> {
        let lost = std::mem::take(&mut self.lost);
        (lost != Lost::default()).then_some(lost)
    }

    pub(in crate::event_loop) fn has_lost(&self) -> bool {
        self.lost != Lost::default()
    }

    /// Returns the bytes that it holds.
    pub(in crate::event_loop) fn bytes(&self) -> usize {
        self.bytes
    }

    fn has_room(&self, config: &QueueConfig, limit: usize, cost: usize) -> bool {
        self.kept.len() < config.max_messages && self.bytes.saturating_add(cost) <= limit
    }

    fn drop_old(&mut self, config: &QueueConfig, now: Micros) {
        let Some(age) = config.max_age.map(Micros::from) else {
            return;
        };
        while let Some(first) = self.kept.front()
            && now - first.since > age
        {
            self.take_first();
            self.lost.too_old += 1;
        }
    }

    /// Takes the first message; with the last one goes the room, which nothing counts.
    fn take_first(&mut self) -> Option<Kept> {
        let first = self.kept.pop_front()?;
        self.bytes -= first.data.len() + BESIDE;
        if self.kept.is_empty() {
            self.kept = VecDeque::new();
        }
        Some(first)
    }
}

/// Bytes that a message takes beside its data.
const BESIDE: usize = 64;

const _: () = assert!(size_of::<Kept>() <= BESIDE);

#[cfg(test)]
mod tests {
    use super::*;

    fn config(overflow: QueueOverflow) -> QueueConfig {
        QueueConfig {
            max_messages: 3,
            max_bytes: 3 * (BESIDE + 1) + 10,
            overflow,
            max_age: Some(Duration::from_secs(10)),
        }
    }

    fn push(queue: &mut Queue, config: &QueueConfig, secs: u64, text: &str) -> bool {
        let now = Micros::from_secs(secs);
        let pushed = queue.push(config, now, Message::text(text), usize::MAX);
        pushed.is_ok()
    }

    fn rest(queue: &mut Queue, config: &QueueConfig, secs: u64) -> String {
        let now = Micros::from_secs(secs);
        let texts = std::iter::from_fn(|| queue.pop(config, now));
        let texts: Vec<_> = texts
            .map(|(kind, data)| {
                assert_eq!(kind, MessageKind::Text);
                String::from_utf8(data.into()).expect("it was text")
            })
            .collect();
        texts.join(" ")
    }

    #[test]
    fn each_policy_loses_what_it_says() {
        for (overflow, last_is_kept, left, lost) in [
            (QueueOverflow::DropOldest, true, "b c d", 1),
            (QueueOverflow::DropNewest, true, "a b c", 1),
            (QueueOverflow::Refuse, false, "a b c", 0),
        ] {
            let config = config(overflow);
            let mut queue = Queue::default();
            for text in ["a", "b", "c"] {
                assert!(push(&mut queue, &config, 0, text));
            }
            assert_eq!(queue.bytes(), 3 * (BESIDE + 1));
            assert_eq!(push(&mut queue, &config, 0, "d"), last_is_kept);
            assert_eq!(rest(&mut queue, &config, 0), left, "{overflow:?}");
            assert_eq!((queue.bytes(), queue.kept.capacity()), (0, 0));
            let taken = queue.take_lost().map_or(0, |lost| lost.overflow);
            assert_eq!(taken, lost, "{overflow:?}");
            assert_eq!(queue.take_lost(), None, "told once");
        }
    }

    #[test]
    fn bytes_are_limited_too_and_what_never_fits_drops_nothing() {
        let config = config(QueueOverflow::DropOldest);
        let mut queue = Queue::default();
        for text in ["a", "b"] {
            assert!(push(&mut queue, &config, 0, text));
        }
        assert!(push(&mut queue, &config, 0, "twelve bytes"));
        assert_eq!(rest(&mut queue, &config, 0), "b twelve bytes");
        assert!(push(&mut queue, &config, 0, "a"));
        let long = "x".repeat(config.max_bytes);
        for overflow in [
            QueueOverflow::DropOldest,
            QueueOverflow::DropNewest,
            QueueOverflow::Refuse,
        ] {
            let config = QueueConfig {
                overflow,
                ..config.clone()
            };
            assert!(!push(&mut queue, &config, 0, &long), "{overflow:?}");
        }
        // The memory that is left in all may be less.
        let now = Micros::ZERO;
        let pushed = queue.push(&config, now, Message::text("b"), BESIDE);
        let (queued, limit) = (BESIDE + 1, BESIDE);
        assert_eq!(pushed, Err(SendError::Full { queued, limit }));
        assert_eq!(rest(&mut queue, &config, 0), "a");
        assert_eq!(queue.take_lost().map(|lost| lost.overflow), Some(1));
    }

    #[test]
    fn what_is_too_old_makes_room_and_is_not_sent() {
        let config = config(QueueOverflow::Refuse);
        let mut queue = Queue::default();
        for (secs, text) in [(0, "a"), (5, "b"), (6, "c")] {
            assert!(push(&mut queue, &config, secs, text));
        }
        assert!(!push(&mut queue, &config, 10, "d"), "ten is not too old");
        assert!(push(&mut queue, &config, 11, "d"));
        assert_eq!(rest(&mut queue, &config, 16), "c d");
        assert_eq!(queue.take_lost().map(|lost| lost.too_old), Some(2));
        assert!(push(&mut queue, &config, 20, "e"));
        queue.give_up();
        assert_eq!(rest(&mut queue, &config, 20), "");
        assert_eq!(queue.take_lost().map(|lost| lost.stopped), Some(1));
    }
}
