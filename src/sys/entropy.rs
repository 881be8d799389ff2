//! Where the loop's random numbers come from.

use crate::proto::session::Entropy;

/// Returns a random generator: seeded by the system, or with the seed that a test has set.
pub(crate) fn entropy(seed: Option<u64>) -> Box<dyn Entropy> {
    Box::new(Generator::new(seed))
}

/// A cryptographic generator: masks must be unpredictable (RFC 6455, section 10.3).
#[cfg(feature = "websocket")]
#[derive(Debug)]
struct Generator(rand::rngs::StdRng);

#[cfg(feature = "websocket")]
impl Generator {
    fn new(seed: Option<u64>) -> Self {
        use rand::SeedableRng;

        Self(match seed {
            Some(seed) => rand::rngs::StdRng::seed_from_u64(seed),
            None => rand::make_rng(),
        })
    }
}

#[cfg(feature = "websocket")]
impl Entropy for Generator {
    fn next_u64(&mut self) -> u64 {
        rand::Rng::next_u64(&mut self.0)
    }
}

/// The standard library's keyed hash of a counter. Without WebSocket there are no masks, and this
/// is good enough for phases and jitter.
#[cfg(not(feature = "websocket"))]
#[derive(Debug)]
struct Generator {
    key: std::hash::RandomState,
    seed: Option<u64>,
    counter: u64,
}

#[cfg(not(feature = "websocket"))]
impl Generator {
    fn new(seed: Option<u64>) -> Self {
        Self {
            key: std::hash::RandomState::new(),
            seed,
            counter: 0,
        }
    }
}

#[cfg(not(feature = "websocket"))]
impl Entropy for Generator {
    fn next_u64(&mut self) -> u64 {
        use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher};

        self.counter = self.counter.wrapping_add(1);
        match self.seed {
            None => self.key.hash_one(self.counter),
            Some(seed) => {
                let mut hasher = DefaultHasher::new();
                (seed, self.counter).hash(&mut hasher);
                hasher.finish()
            }
        }
    }
}
