//! What a peer has sent lately, where that is limited.

use crate::proto::bucket::Bucket;
use crate::proto::policy::Limits;
use crate::proto::time::Micros;

/// The buckets of a session, and the pause that they ask for. They exist only while something is owed.
#[derive(Debug)]
pub(super) struct Rates {
    messages: Bucket,
    bytes: Bucket,
    /// When reading goes on, while a limit has paused it.
    resumes: Option<Micros>,
    /// The shell has paused reading too, so that it does not go on then.
    is_held: bool,
}

/// What is taken from a bucket.
#[derive(Clone, Copy, Debug)]
pub(super) enum Taken {
    /// One message.
    Message,
    /// Bytes of frames.
    Bytes(usize),
}

impl Rates {
    /// Returns full buckets.
    pub(super) fn new(now: Micros) -> Self {
        Self {
            messages: Bucket::new(now),
            bytes: Bucket::new(now),
            resumes: None,
            is_held: false,
        }
    }

    /// Returns full buckets of a peer that nobody has read since then.
    pub(super) fn unread(since: Micros, now: Micros) -> Self {
        let mut rates = Self::new(since.min(now));
        rates.credit(since, now);
        rates
    }

    /// Takes from a bucket. Returns when the limit allows more, if that was too much.
    pub(super) fn take(&mut self, limits: &Limits, taken: Taken, now: Micros) -> Option<Micros> {
        let (bucket, rate, count) = match taken {
            Taken::Message => (&mut self.messages, limits.messages, 1),
            Taken::Bytes(count) => (&mut self.bytes, limits.bytes, count as u64),
        };
        bucket.take(rate?, count, now).then(|| bucket.refills_at())
    }

    /// Counts what the peer sent while nobody read as if it had come evenly since then.
    pub(super) fn credit(&mut self, since: Micros, now: Micros) {
        self.messages.credit(since, now);
        self.bytes.credit(since, now);
    }

    /// Asks for a pause until then. Returns whether it is a new one. `is_held` says whether the shell does
    /// not read anyway.
    pub(super) fn pause(&mut self, until: Micros, is_held: bool) -> bool {
        let is_new = self.resumes.is_none();
        self.resumes = self.resumes.max(Some(until));
        if is_new {
            self.is_held = is_held;
        }
        is_new
    }

    /// Returns when the pause ends, if there is one.
    pub(super) fn resumes(&self) -> Option<Micros> {
        self.resumes
    }

    /// Ends the pause. Returns whether reading goes on.
    pub(super) fn resume(&mut self) -> bool {
        self.resumes = None;
        !self.is_held
    }

    /// Notes, during a pause, whether the shell wants one too. Returns whether there is a pause.
    pub(super) fn hold(&mut self, is_held: bool) -> bool {
        if self.resumes.is_some() {
            self.is_held = is_held;
        }
        self.resumes.is_some()
    }

    /// Says whether the shell wants a pause too, during one.
    pub(super) fn is_held(&self) -> bool {
        self.is_held
    }

    /// Says whether nothing is owed.
    pub(super) fn is_paid(&self, now: Micros) -> bool {
        self.resumes.is_none() && self.messages.is_full(now) && self.bytes.is_full(now)
    }
}
