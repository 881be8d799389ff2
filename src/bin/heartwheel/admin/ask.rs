//! What the first loop asks all loops, itself among them, and what they answer.

use heartwheel::reactor::ConnId;
use heartwheel::stats::Stats;
use serde_json::Value;

use super::listing::{Choice, Row};

/// A question.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// How it is going.
    Stats,
    Conns(Choice),
    /// One connection.
    Conn(ConnId),
    /// The last ends, so many.
    Closed(usize),
    /// To close a connection.
    Kick(ConnId),
}

/// The answer of one loop.
#[derive(Debug)]
pub(crate) enum Part {
    Stats {
        shard: usize,
        stats: Box<Stats>,
        /// Connections by listener.
        listeners: Vec<(String, u64)>,
    },
    Conns {
        rows: Vec<Row>,
        count: u64,
    },
    Conn(Option<Value>),
    /// With the time of each, on the clock of all loops.
    Closed(Vec<(u64, Value)>),
    /// Whether there was one.
    Kicked(bool),
}

/// Which question it is.
pub(crate) type Number = u64;
