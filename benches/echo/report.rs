//! What was measured, as a table for people and as JSON for machines.

use serde_json::{Value, json};

use super::load::Load;
use super::servers::Kind;
use super::spread::Spread;

/// What one round has shown of one server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// Messages a second.
    pub(crate) rate: f64,
    /// Microseconds of processor time that the server took for a message.
    pub(crate) cost: f64,
    /// Bytes of payload in an answer.
    pub(crate) answer: u64,
}

/// What all rounds have shown of it.
#[derive(Debug)]
pub(crate) struct Row<'runs> {
    kind: Kind,
    rate: Spread,
    cost: Spread,
    runs: &'runs [Run],
}

impl<'runs> Row<'runs> {
    pub(crate) fn new(kind: Kind, runs: &'runs [Run]) -> Self {
        Self {
            kind,
            rate: Spread::of(runs.iter().map(|run| run.rate)),
            cost: Spread::of(runs.iter().map(|run| run.cost)),
            runs,
        }
    }

    fn answer(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.answer)
    }

    fn to_json(&self) -> Value {
        let run = |run: &Run| json!({ "messages_per_second": run.rate, "server_us_per_message": run.cost });
        json!({
            "name": self.kind.name(),
            "messages_per_second": self.rate.to_json(),
            "server_us_per_message": self.cost.to_json(),
            "bytes_of_an_answer": self.answer(),
            "runs": self.runs.iter().map(run).collect::<Vec<_>>(),
        })
    }
}

pub(crate) fn print(load: Load, rows: &[Row<'_>]) {
    let is_compressed = load.kind.is_compressed();
    println!(
        "  {:20}{:>34}{:>28}   ahead by{}",
        "",
        "messages/s",
        "server us a message",
        if is_compressed {
            "   bytes an answer"
        } else {
            ""
        },
    );
    let ours = [Kind::HeartwheelServe, Kind::Heartwheel];
    let ours = ours.map(|kind| rows.iter().find(|row| row.kind == kind));
    let [serve, library] = ours;
    for row in rows {
        let (rate, cost) = (row.rate.show(0), row.cost.show(2));
        print!("  {:20}{rate:>34}{cost:>28}", row.kind.name());
        if let Some(ours) = serve.or(library)
            && !row.kind.is_ours()
        {
            let rate = ours.rate.median / row.rate.median;
            let cost = row.cost.median / ours.cost.median;
            print!(" {rate:6.2} {cost:6.2}");
        } else if is_compressed {
            print!("{:14}", "");
        }
        if is_compressed {
            print!("{:15}", row.answer());
        }
        println!();
    }
}

pub(crate) fn to_json(load: Load, rows: &[Row<'_>]) -> Value {
    json!({
        "name": load.to_string(),
        "connections": load.connections,
        "bytes": load.size,
        "kind": load.kind.name(),
        "in_flight": load.window,
        "servers": rows.iter().map(Row::to_json).collect::<Vec<_>>(),
    })
}
