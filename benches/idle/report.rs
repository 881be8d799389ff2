//! What was measured, as tables for people and as JSON for plots.

use std::fmt::Write;
use std::time::Duration;

use heartwheel::proto::time::Micros;
use heartwheel::stats::Histogram;
use serde_json::{Value, json};

use super::measure::{Arrival, Load, Run};
use super::spread;
use super::spread::Spread;
use super::subject::Subject;

/// The table of one load.
pub(crate) struct Rows {
    load: Load,
    text: String,
    subjects: Vec<Value>,
}

impl Rows {
    pub(crate) fn new(load: &Load) -> Self {
        let mut text = format!(
            "  {:28}{:>24}{:>22}{:>24}{:>24}\n",
            "",
            "us CPU a round trip",
            "against the first",
            "pings late, ms (*)",
            "gaps wrong by, ms (*)",
        );
        if load.in_two_waves {
            text = text.trim_end().to_owned();
            text += &format!("{:>24}{:>22}\n", "bytes/connection", "opened a second");
        }
        Self {
            load: load.clone(),
            text,
            subjects: Vec::new(),
        }
    }

    /// Adds a row; runs of the floor with the same number were in the same round.
    pub(crate) fn add(&mut self, subject: Subject, runs: &[Run], floor: &[Run]) {
        let cost = spread(runs, |run| run.cost.as_secs_f64() * 1e6);
        let ratios = runs.iter().zip(floor);
        let ratio = Spread::of(ratios.map(|(own, floor)| own.cost.div_duration_f64(floor.cost)));
        let (lateness, gaps) = (
            merge(runs, |run| &run.lateness),
            merge(runs, |run| &run.gaps),
        );
        let _ = write!(
            self.text,
            "  {:28}{:>24}{:>22}{:>24}{:>24}",
            subject.to_string(),
            cost.show(2),
            ratio.show(2),
            quantiles(&lateness),
            quantiles(&gaps),
        );
        if self.load.in_two_waves {
            let bytes = spread(runs, |run| run.arrival.bytes.unwrap_or(f64::NAN));
            let rate = spread(runs, |run| run.arrival.rate());
            let _ = write!(self.text, "{:>24}{:>22}", bytes.show(0), rate.show(0));
        }
        self.text.push('\n');
        self.subjects.push(json!({
            "name": subject.to_string(),
            "kind": subject.kind.name(),
            "slack_ms": subject.slack.map(|slack| slack.as_millis()),
            "cpu_us_per_round_trip": cost.to_json(),
            "against_the_floor": ratio.to_json(),
            "ping_lateness_us": figures(&lateness),
            "gap_error_us": figures(&gaps),
            "runs": runs.iter().map(to_json).collect::<Vec<_>>(),
        }));
    }

    pub(crate) fn print(&self) {
        print!("{}", self.text);
        println!("  (*) p50, p99, p99.9 and most of all runs together");
        if !self.load.in_two_waves {
            return;
        }
        println!("  while connections arrived, in the last round:");
        for subject in &self.subjects {
            let arrival = &subject["runs"]
                .as_array()
                .and_then(|runs| runs.last())
                .unwrap()["arrival"];
            println!(
                "  {:28}{:.1} us CPU each; handshakes {} us at p50, {} at p99; pings late by {} us at \
                 p99.9, gaps of those who were there wrong by {}; {} dropped at a full backlog",
                subject["name"].as_str().unwrap_or_default(),
                arrival["cpu_us_each"].as_f64().unwrap_or(f64::NAN),
                arrival["opening_us"]["p50"],
                arrival["opening_us"]["p99"],
                shown(&arrival["ping_lateness_us"], "p999"),
                shown(&arrival["gap_error_us"], "p999"),
                arrival["dropped"],
            );
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "connections": self.load.connections,
            "interval_s": self.load.interval.as_secs_f64(),
            "timeout_s": self.load.timeout.as_secs_f64(),
            "seconds_a_run": self.load.window.as_secs_f64(),
            "subjects": self.subjects,
        })
    }
}

impl Arrival {
    /// Connections opened a second.
    fn rate(&self) -> f64 {
        self.connections as f64 / self.took.as_secs_f64()
    }

    fn to_json(&self) -> Value {
        json!({
            "connections": self.connections,
            "per_second": self.rate(),
            "cpu_us_each": micros(self.cost),
            "opening_us": figures(&self.opening),
            "ping_lateness_us": figures(&self.lateness),
            "gap_error_us": figures(&self.gaps),
            "dropped": self.dropped,
            "bytes_each": self.bytes,
        })
    }
}

fn to_json(run: &Run) -> Value {
    json!({
        "round_trips": run.round_trips,
        "cpu_us_per_round_trip": micros(run.cost),
        "system_share": run.system_share,
        "ping_lateness_us": figures(&run.lateness),
        "gap_error_us": figures(&run.gaps),
        "arrival": run.arrival.to_json(),
        "load_average": run.load_average,
    })
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn merge(runs: &[Run], part: impl Fn(&Run) -> &Histogram) -> Histogram {
    let mut all = Histogram::new();
    for run in runs {
        all.merge(part(run));
    }
    all
}

/// Returns one of the figures of a histogram, if it has any.
fn shown(figures: &Value, name: &str) -> String {
    if figures["count"] == 0 {
        return "-".to_owned();
    }
    figures[name].to_string()
}

/// Returns p50, p99, p99.9 and the most of a histogram in ms, if it has any.
pub(crate) fn quantiles(times: &Histogram) -> String {
    if times.is_empty() {
        return "-".to_owned();
    }
    let millis = |share| times.quantile(share).as_secs_f64() * 1e3;
    let [p50, p99, p999, most] = [0.5, 0.99, 0.999, 1.0].map(millis);
    format!("{p50:.1} {p99:.1} {p999:.1} {most:.1}")
}

/// The same in µs, by name.
pub(crate) fn figures(times: &Histogram) -> Value {
    let at = |share| Micros::from(times.quantile(share)).as_micros();
    json!({ "count": times.len(), "p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "most": at(1.0) })
}
