//! Lists of connections, made a part at a time: nothing waits for a long one.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use heartwheel::close::{Liveness, Phase};
use heartwheel::proto::http::Request;
use heartwheel::reactor::{ConnId, ConnInfo, Context};
use serde_json::{Value, json};

use crate::values::micros;

/// Which connections somebody wants to see, and in which order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    sort: Sort,
    /// The largest first.
    is_falling: bool,
    pub(crate) offset: usize,
    pub(crate) limit: usize,
    listener: Option<String>,
    /// A part of the address.
    peer: Option<String>,
    state: Option<State>,
    /// At least so long without a proof of life.
    idle: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sort {
    Age,
    Idle,
    Rtt,
    Queued,
    Memory,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Phase(Phase),
    /// Open, and late with its answer.
    Late,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    key: u128,
    info: Value,
}

impl Ord for Row {
    fn cmp(&self, other: &Self) -> Ordering {
        // The one that is dropped first is the greatest for the heap: that with the smallest key.
        other.key.cmp(&self.key)
    }
}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Choice {
    /// Reads what a request asks for.
    pub(crate) fn of(request: &Request<'_>) -> Result<Self, String> {
        let mut choice = Self {
            sort: Sort::Age,
            is_falling: true,
            offset: 0,
            limit: 50,
            listener: None,
            peer: None,
            state: None,
            idle: Duration::ZERO,
        };
        for (key, value) in request.query_pairs() {
            match &*key {
                "sort" => choice.sort = sort(&value)?,
                "order" => {
                    choice.is_falling = match &*value {
                        "desc" => true,
                        "asc" => false,
                        _ => return Err("order is desc or asc".into()),
                    }
                }
                "offset" => choice.offset = number("offset", &value, MOST_OFFSET)?,
                "limit" => choice.limit = number("limit", &value, MOST_LIMIT)?,
                "listener" => choice.listener = Some(value.into_owned()),
                "peer" => choice.peer = Some(value.into_owned()),
                "state" => choice.state = Some(state(&value)?),
                "idle" => {
                    let idle = humantime::parse_duration(&value);
                    choice.idle = idle.map_err(|_| "idle is a time such as 30s")?;
                }
                _ => {
                    return Err(format!(
                        "there is no parameter {key:?}: there are sort, order, offset, limit, listener, peer, \
                         state and idle"
                    ));
                }
            }
        }
        Ok(choice)
    }

    /// How many rows of each loop may be needed.
    fn most(&self) -> usize {
        self.offset + self.limit
    }

    fn takes(&self, info: &ConnInfo, listener: &str) -> bool {
        let is_state = match self.state {
            None => true,
            Some(State::Phase(phase)) => info.phase == phase,
            Some(State::Late) => info.phase == Phase::Open && info.liveness == Liveness::Late,
        };
        is_state
            && info.last_proof >= self.idle
            && self
                .listener
                .as_ref()
                .is_none_or(|wanted| wanted == listener)
            && self
                .peer
                .as_ref()
                .is_none_or(|part| info.peer.to_string().contains(part.as_str()))
    }

    /// Returns what rows are sorted by: the largest comes first. Times count from the start of all loops, so that
    /// the order of two connections does not depend on when they are looked at.
    fn key(&self, now: Duration, id: ConnId, info: &ConnInfo) -> u128 {
        let since = |age: Duration| u64::MAX - micros(now.saturating_sub(age));
        let in_millis = |time: Duration| time.as_millis().min(u128::from(u64::MAX)) as u64;
        let value = match self.sort {
            Sort::Age => since(info.age),
            // Proofs are noted to the millisecond.
            Sort::Idle => u64::MAX - in_millis(now).saturating_sub(in_millis(info.last_proof)),
            Sort::Rtt => info.rtt.map_or(0, |rtt| micros(rtt.smoothed)),
            Sort::Queued => info.queued as u64,
            Sort::Memory => info.memory as u64,
        };
        let value = match self.is_falling {
            true => value,
            false => u64::MAX - value,
        };
        // No two are alike, so that pages do not overlap.
        u128::from(value) << 64 | u128::from(u64::MAX - id.as_u64())
    }
}

fn sort(typed: &str) -> Result<Sort, String> {
    Ok(match typed {
        "age" => Sort::Age,
        "idle" => Sort::Idle,
        "rtt" => Sort::Rtt,
        "queued" => Sort::Queued,
        "memory" => Sort::Memory,
        _ => return Err("sort is age, idle, rtt, queued or memory".into()),
    })
}

fn state(typed: &str) -> Result<State, String> {
    Ok(match typed {
        "opening" => State::Phase(Phase::Handshaking),
        "open" => State::Phase(Phase::Open),
        "late" => State::Late,
        "closing" => State::Phase(Phase::Closing),
        _ => return Err("state is opening, open, late or closing".into()),
    })
}

fn number(key: &str, typed: &str, most: usize) -> Result<usize, String> {
    let number = typed.parse().ok().filter(|number| *number <= most);
    number.ok_or_else(|| format!("{key} is a number up to {most}"))
}

/// A list that is being made.
#[derive(Debug)]
pub(crate) struct Listing {
    choice: Choice,
    next: usize,
    /// Those that come first, of those that were looked at.
    rows: BinaryHeap<Row>,
    /// How many there are.
    count: u64,
}

impl Listing {
    pub(crate) fn new(choice: Choice) -> Self {
        Self {
            choice,
            next: 0,
            rows: BinaryHeap::new(),
            count: 0,
        }
    }

    /// Looks at the next connections. Returns whether that were the last ones.
    pub(crate) fn step<'a>(
        &mut self,
        cx: &Context<'_, ()>,
        name: impl Fn(&ConnInfo) -> Option<&'a str>,
    ) -> bool {
        let (conns, next) = cx.connections_of(self.next..self.next + PART);
        for id in conns {
            let Some(info) = cx.info(id) else { continue };
            // Those of the admin listener have none.
            let Some(listener) = name(&info) else {
                continue;
            };
            if !self.choice.takes(&info, listener) {
                continue;
            }
            self.count += 1;
            let key = self.choice.key(cx.now(), id, &info);
            let is_full = self.rows.len() >= self.choice.most();
            if is_full && self.rows.peek().is_none_or(|last| key <= last.key) {
                continue;
            }
            if is_full {
                self.rows.pop();
            }
            let info = describe(id, &info, listener);
            self.rows.push(Row { key, info });
        }
        self.next = next.unwrap_or(self.next);
        next.is_none()
    }

    /// Returns the rows, and how many there are of them and of others that were not asked for.
    pub(crate) fn finish(self) -> (Vec<Row>, u64) {
        (self.rows.into_vec(), self.count)
    }
}

/// Puts the lists of all loops together.
pub(crate) fn page(choice: &Choice, mut rows: Vec<Row>, count: u64) -> Value {
    rows.sort_unstable();
    let rows = rows.into_iter().skip(choice.offset).take(choice.limit);
    let rows: Vec<_> = rows.map(|row| row.info).collect();
    json!({ "count": count, "offset": choice.offset, "connections": rows })
}

/// Says what is known of a connection.
pub(crate) fn describe(id: ConnId, info: &ConnInfo, listener: &str) -> Value {
    let (due, written, answered) = info.pings;
    json!({
        "id": id.to_string(),
        "peer": info.peer.to_string(),
        "via": info.peer.proxy().map(ToString::to_string),
        "listener": listener,
        "wire": info.wire.label(),
        "state": match (info.phase, info.liveness) {
            (Phase::Open, Liveness::Late) => "late",
            (Phase::Open, _) => "open",
            (Phase::Closing | Phase::Closed, _) => "closing",
            (Phase::Connecting | Phase::Handshaking, _) => "opening",
        },
        "age_us": micros(info.age),
        "idle_us": micros(info.last_proof),
        "rtt_us": info.rtt.map(|rtt| micros(rtt.smoothed)),
        "rtt_min_us": info.rtt.map(|rtt| micros(rtt.min)),
        "pings_due": due,
        "pings_written": written,
        "pings_answered": answered,
        "pings_received": info.pings_received,
        "queued": info.queued,
        "memory": info.memory,
    })
}

/// Slots that are looked at in one piece: some 50 µs.
const PART: usize = 256;

const MOST_OFFSET: usize = 100_000;
const MOST_LIMIT: usize = 1_000;
