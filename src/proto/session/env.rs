//! What all sessions of one loop share.

use std::fmt;

use super::buffers::Buffers;
use super::policies::{Policies, PolicyId};
use crate::error::ConfigError;
#[cfg(feature = "websocket")]
use crate::proto::http::HttpDate;
use crate::proto::lateness::Lateness;
use crate::proto::policy::Policy;
use crate::proto::pool::Pool;
use crate::proto::time::Micros;
use crate::stats::Stats;

/// A source of random numbers, handed in because the core owns no randomness.
///
/// Masks of a WebSocket client must be unpredictable (RFC 6455, section 10.3), so a real driver gives
/// a cryptographic generator and a simulator a seeded one.
pub trait Entropy: fmt::Debug + Send {
    /// Returns 64 random bits.
    fn next_u64(&mut self) -> u64;
}

/// The surroundings of a session: policies, buffers to borrow, randomness, counters, and how late the
/// loop has been.
#[derive(Debug)]
pub struct Env {
    pub(super) policies: Policies,
    pub(crate) pool: Pool,
    pub(crate) entropy: Box<dyn Entropy>,
    pub(crate) stats: Stats,
    pub(crate) lateness: Lateness,
    /// Where a frame is put together before it is queued.
    pub(super) scratch: Vec<u8>,
    #[expect(
        clippy::vec_box,
        reason = "a session holds them boxed, so that idle it holds little"
    )]
    spare: Vec<Box<Buffers>>,
    token_key: u64,
    #[cfg(feature = "websocket")]
    date: Option<HttpDate>,
}

impl Env {
    /// Makes the surroundings of a loop whose tick is 10 ms or less; see [`set_tick`](Self::set_tick).
    pub fn new(mut entropy: Box<dyn Entropy>) -> Self {
        let token_key = entropy.next_u64();
        Self {
            policies: Policies::default(),
            pool: Pool::default(),
            entropy,
            stats: Stats::default(),
            lateness: Lateness::new(Micros::ZERO),
            scratch: Vec::new(),
            spare: Vec::new(),
            token_key,
            #[cfg(feature = "websocket")]
            date: None,
        }
    }

    /// Sets what the wall clock says, for the responses that a session makes by itself; `None`, as in the
    /// beginning, where there is no clock.
    #[cfg(feature = "websocket")]
    pub fn set_date(&mut self, date: Option<HttpDate>) {
        self.date = date;
    }

    /// Returns what the wall clock said last.
    #[cfg(feature = "websocket")]
    pub fn date(&self) -> Option<HttpDate> {
        self.date
    }

    /// Adds a policy, or finds the one that is equal, for sessions to come. It is kept until whoever called
    /// this [gives it back](Self::release) and no session follows it: each of those is a user of its own.
    ///
    /// # Errors
    ///
    /// Names `heartbeat` where 65 536 different policies are in use; nothing has changed then.
    pub fn intern(&mut self, policy: Policy) -> Result<PolicyId, ConfigError> {
        self.policies.intern(policy)
    }

    /// Gives back a policy that [`intern`](Self::intern) returned, once for each time; its number may go
    /// to another one then.
    ///
    /// # Panics
    ///
    /// If nobody uses it.
    pub fn release(&mut self, id: PolicyId) {
        self.policies.release(id);
    }

    /// Returns a policy.
    ///
    /// # Panics
    ///
    /// If nobody uses it.
    pub fn policy(&self, id: PolicyId) -> &Policy {
        self.policies.get(id)
    }

    /// Returns how many different policies are in use.
    pub fn policy_count(&self) -> usize {
        self.policies.len()
    }

    /// Sets the tick of the loop, before its first turn: what is within it is not late.
    pub fn set_tick(&mut self, tick: Micros) {
        self.lateness = Lateness::new(tick);
    }

    /// Returns when the loop was late.
    pub fn lateness(&self) -> &Lateness {
        &self.lateness
    }

    /// Returns the same, to be told of turns.
    pub fn lateness_mut(&mut self) -> &mut Lateness {
        &mut self.lateness
    }

    /// Returns the counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Returns the pool.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Returns the pool, to fill the ring that [`Session::take_input`](super::Session::take_input)
    /// lends.
    pub fn pool_mut(&mut self) -> &mut Pool {
        &mut self.pool
    }

    /// Returns 64 random bits.
    pub fn random(&mut self) -> u64 {
        self.entropy.next_u64()
    }

    pub(super) fn take_buffers(&mut self) -> Box<Buffers> {
        self.spare.pop().unwrap_or_default()
    }

    pub(super) fn give_buffers(&mut self, mut buffers: Box<Buffers>) {
        buffers.clear(&mut self.pool);
        if self.spare.len() < KEPT_BUFFERS {
            self.spare.push(buffers);
        }
    }

    pub(super) fn token_key(&self) -> u64 {
        self.token_key
    }

    #[cfg(feature = "websocket")]
    pub(super) fn mask(&mut self) -> [u8; 4] {
        let [a, b, c, d, ..] = self.entropy.next_u64().to_ne_bytes();
        [a, b, c, d]
    }
}

/// Buffer sets kept for the next connection that needs one.
const KEPT_BUFFERS: usize = 64;
