//! What all sessions of one loop share.

use std::fmt;

use super::buffers::Buffers;
use super::policies::{Policies, PolicyId};
use crate::error::ConfigError;
#[cfg(feature = "deflate")]
use crate::proto::deflate::{Compressors, Inflaters};
#[cfg(feature = "websocket")]
use crate::proto::http::HttpDate;
use crate::proto::lateness::Lateness;
use crate::proto::policy::Policy;
use crate::proto::pool::Pool;
use crate::proto::time::Micros;
use crate::stats::Stats;

/// A source of random numbers, because the core has none of its own.
///
/// The masks of a WebSocket client must be unpredictable (RFC 6455, section 10.3). So a real driver
/// uses a cryptographic generator, and a simulator a seeded one.
pub trait Entropy: fmt::Debug + Send {
    /// Returns 64 random bits.
    fn next_u64(&mut self) -> u64;
}

/// What a session needs from its loop: policies, buffers, random numbers, counters, and the loop's
/// lateness.
#[derive(Debug)]
pub struct Env {
    pub(super) policies: Policies,
    pub(crate) pool: Pool,
    pub(crate) entropy: Box<dyn Entropy>,
    pub(crate) stats: Stats,
    pub(crate) lateness: Lateness,
    /// Where a frame is put together before it is queued.
    pub(super) scratch: Vec<u8>,
    /// What compresses and inflates messages, one at a time, and where a compressed one is put.
    #[cfg(feature = "deflate")]
    pub(super) compressors: Compressors,
    #[cfg(feature = "deflate")]
    pub(super) inflaters: Inflaters,
    #[cfg(feature = "deflate")]
    pub(super) packed: Vec<u8>,
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
            #[cfg(feature = "deflate")]
            compressors: Compressors::default(),
            #[cfg(feature = "deflate")]
            inflaters: Inflaters::default(),
            #[cfg(feature = "deflate")]
            packed: Vec::new(),
            spare: Vec::new(),
            token_key,
            #[cfg(feature = "websocket")]
            date: None,
        }
    }

    /// Sets the date for responses that a session makes itself. `None`, the default, means that
    /// there is no clock.
    #[cfg(feature = "websocket")]
    pub fn set_date(&mut self, date: Option<HttpDate>) {
        self.date = date;
    }

    /// Returns the date that was set last.
    #[cfg(feature = "websocket")]
    pub fn date(&self) -> Option<HttpDate> {
        self.date
    }

    /// Adds a policy, or finds an equal one. It is kept until the caller [releases](Self::release)
    /// it and no session uses it. Each session that follows it is one more user.
    ///
    /// # Errors
    ///
    /// The field `heartbeat` if 65 536 different policies are in use. Nothing has changed then.
    pub fn intern(&mut self, policy: Policy) -> Result<PolicyId, ConfigError> {
        self.policies.intern(policy)
    }

    /// Releases a policy, once for each call of [`intern`](Self::intern). Its number may then be
    /// given to another one.
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

    /// Returns the lateness, to tell it of turns.
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

    /// Takes the work of compressing and inflating since the last call, in steps of about 0.12 µs.
    #[cfg(feature = "deflate")]
    pub(crate) fn take_effort(&mut self) -> usize {
        self.compressors.take_effort() + self.inflaters.take_effort()
    }

    /// Nothing is compressed without the feature.
    #[cfg(not(feature = "deflate"))]
    pub(crate) fn take_effort(&self) -> usize {
        0
    }

    /// Returns the frame that a session has encoded last.
    pub(crate) fn frame(&self) -> &[u8] {
        &self.scratch
    }

    /// The same, beside the pool.
    pub(crate) fn frame_and_pool(&mut self) -> (&[u8], &mut Pool) {
        (&self.scratch, &mut self.pool)
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
