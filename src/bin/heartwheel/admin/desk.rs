//! What each loop answers operators: at once, or in parts.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use heartwheel::close::CloseCode;
use heartwheel::reactor::{ConnInfo, Context, Ended, Endpoint};
use serde_json::Value;

use super::ask::{Ask, Number, Part};
use super::listing::{Listing, describe};
use crate::record::Record;
use crate::steps::Listening;
use crate::values::micros;

/// Lists that one loop makes. They share a millisecond of each turn, and go on in turns of their own, a part at a
/// time.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    under_way: VecDeque<(Number, Listing)>,
}

impl Desk {
    /// Answers at once, or begins: then [`go_on`](Self::go_on) is to be called at once.
    pub(crate) fn ask(
        &mut self,
        cx: &mut Context<'_, ()>,
        listening: &[Listening],
        number: Number,
        ask: Ask,
    ) -> Option<Part> {
        match ask {
            Ask::Stats => Some(stats(cx, listening)),
            Ask::Conns(choice) => {
                self.under_way.push_back((number, Listing::new(choice)));
                None
            }
            Ask::Conn(id) => {
                let info = cx.info(id);
                let found = info.and_then(|info| {
                    let listener = name(&info.endpoint, listening)?;
                    Some(describe(id, &info, &listener))
                });
                Some(Part::Conn(found))
            }
            Ask::Closed(most) => {
                let ends = cx.history().filter_map(|end| closed(end, listening));
                Some(Part::Closed(ends.take(most).collect()))
            }
            Ask::Kick(id) => {
                let endpoint = cx.endpoint(id);
                let is_there = endpoint.is_some_and(|one| name(&one, listening).is_some());
                if is_there {
                    cx.close(id, CloseCode::POLICY, "kicked by an operator");
                }
                Some(Part::Kicked(is_there))
            }
        }
    }

    /// Says whether anything is under way.
    pub(crate) fn has_work(&self) -> bool {
        !self.under_way.is_empty()
    }

    /// Goes on with lists: by one part at least, and by one of each at most. Returns those that are complete.
    pub(crate) fn go_on(
        &mut self,
        cx: &Context<'_, ()>,
        listening: &[Listening],
    ) -> Vec<(Number, Part)> {
        let began = Instant::now();
        // Once for all connections of this part.
        let names: Vec<_> = listening
            .iter()
            .map(|one| (Endpoint::Listener(one.id), one.plan.name()))
            .collect();
        let name = |info: &ConnInfo| {
            let ours = names
                .iter()
                .find(|(endpoint, _)| *endpoint == info.endpoint);
            ours.map(|(_, name)| name.as_str())
        };
        let mut done = Vec::new();
        for _ in 0..self.under_way.len() {
            let Some((number, mut listing)) = self.under_way.pop_front() else {
                break;
            };
            if listing.step(cx, name) {
                let (rows, count) = listing.finish();
                done.push((number, Part::Conns { rows, count }));
            } else {
                self.under_way.push_back((number, listing));
            }
            if began.elapsed() >= SLICE {
                break;
            }
        }
        done
    }
}

fn stats(cx: &Context<'_, ()>, listening: &[Listening]) -> Part {
    let counts = listening.iter().filter_map(|one| {
        let count = cx.listener_connections(one.id)?;
        Some((one.plan.name(), count as u64))
    });
    Part::Stats {
        shard: cx.shard(),
        stats: Box::new(cx.stats().clone()),
        listeners: counts.collect(),
    }
}

/// Returns the name of the listener that a connection came to; operators came to none of these.
fn name(endpoint: &Endpoint, listening: &[Listening]) -> Option<String> {
    let ours = listening
        .iter()
        .find(|one| *endpoint == Endpoint::Listener(one.id));
    ours.map(|one| one.plan.name())
}

/// Says how a connection ended, and when.
fn closed(end: &Ended, listening: &[Listening]) -> Option<(u64, Value)> {
    let listener = name(&end.endpoint, listening)?;
    let record = Record::new(match (end.was_open, end.status) {
        (true, _) => "closed",
        (false, Some(_)) => "answered",
        (false, None) => "rejected",
    });
    let record = match end.id {
        Some(id) => record.word("id", id),
        None => record,
    };
    let record = record.peer(&end.peer).quoted("listener", &listener);
    let record = record.evidence(&end.evidence, "");
    let mut text = String::new();
    record.write_json(&mut text);
    let at = micros(end.at);
    let mut value: Value = serde_json::from_str(&text).ok()?;
    value["at_us"] = at.into();
    Some((at, value))
}

/// Time for lists in one turn.
const SLICE: Duration = Duration::from_millis(1);
