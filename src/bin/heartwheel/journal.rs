//! Events of connections: one line each, or one line a second if there are too many.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use heartwheel::close::Cause;

use crate::output::{Form, Output};
use crate::record::{Record, join_counts};
use crate::stream::LAST_MOMENT;

/// Prints events of connections.
///
/// If a second has more than [`MOST_LINES`] events, the rest of it is summed up, and so are the
/// next seconds until one is calm. With `--json` every event is printed.
#[derive(Debug)]
pub(crate) struct Journal {
    pub(crate) output: Output,
    second: Second,
    /// The last second had too many events, so this one is summed up from its start.
    was_busy: bool,
}

/// What happened in a second that began at some time.
#[derive(Debug)]
struct Second {
    began: Instant,
    events: u32,
    opened: u64,
    closed: BTreeMap<Cause, u64>,
    rejected: BTreeMap<Cause, u64>,
    answered: u64,
}

/// What a record tells of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    Opened,
    Closed(Cause),
    Rejected(Cause),
    /// A plain HTTP request was answered.
    Answered,
}

impl Journal {
    pub(crate) fn new(output: Output) -> Self {
        Self {
            output,
            second: Second::new(Instant::now()),
            was_busy: false,
        }
    }

    /// Tells of one change; `record` is made only if it is written.
    pub(crate) fn tell(&mut self, change: Change, record: impl FnOnce() -> Record) {
        match self.output.form() {
            Form::Quiet => {}
            Form::Json => self.output.record(&record()),
            Form::Lines => {
                self.turn_page(Instant::now());
                self.second.events += 1;
                if self.was_busy || self.second.events > MOST_LINES {
                    self.second.sum_up(change);
                } else {
                    self.output.record(&record());
                }
            }
        }
    }

    /// Ends a turn. Returns when to be called again even if nothing happens.
    pub(crate) fn flush(&mut self) -> Option<Duration> {
        if self.output.form() != Form::Lines {
            self.output.flush();
            return None;
        }
        let now = Instant::now();
        self.turn_page(now);
        self.output.flush();
        let rest = SECOND.saturating_sub(now - self.second.began);
        (!self.second.is_empty()).then_some(rest)
    }

    /// Ends the program's output.
    pub(crate) fn finish(mut self) {
        self.write_sums();
        let began = Instant::now();
        let is_worth = || began.elapsed() < LAST_MOMENTS;
        self.output.finish(LAST_MOMENT, is_worth);
    }

    /// Begins a new second where the old one is over.
    fn turn_page(&mut self, now: Instant) {
        if now - self.second.began < SECOND {
            return;
        }
        self.write_sums();
        self.was_busy = self.second.events > MOST_LINES && now - self.second.began < SECOND * 2;
        self.second = Second::new(now);
    }

    /// Writes what has been summed up, if anything.
    pub(crate) fn write_sums(&mut self) {
        if let Some(line) = self.second.line() {
            self.output.say(&line);
            self.second = Second {
                events: self.second.events,
                ..Second::new(self.second.began)
            };
        }
    }
}

impl Second {
    fn new(began: Instant) -> Self {
        Self {
            began,
            events: 0,
            opened: 0,
            closed: BTreeMap::new(),
            rejected: BTreeMap::new(),
            answered: 0,
        }
    }

    fn sum_up(&mut self, change: Change) {
        match change {
            Change::Opened => self.opened += 1,
            Change::Closed(cause) => *self.closed.entry(cause).or_default() += 1,
            Change::Rejected(cause) => *self.rejected.entry(cause).or_default() += 1,
            Change::Answered => self.answered += 1,
        }
    }

    fn is_empty(&self) -> bool {
        let is_quiet = self.opened == 0 && self.answered == 0;
        is_quiet && self.closed.is_empty() && self.rejected.is_empty()
    }

    /// Returns `... 1234 opened, 56 closed (pong_timeout 40, peer_eof 16)`.
    fn line(&self) -> Option<String> {
        let mut parts = Vec::new();
        if self.opened > 0 {
            parts.push(format!("{} opened", self.opened));
        }
        for (causes, word) in [(&self.closed, "closed"), (&self.rejected, "rejected")] {
            if !causes.is_empty() {
                let mut counts: Vec<_> = causes
                    .iter()
                    .map(|(cause, &count)| (cause.label(), count))
                    .collect();
                counts.sort_by_key(|&(_, count)| std::cmp::Reverse(count));
                let total: u64 = causes.values().sum();
                parts.push(format!(
                    "{total} {word} ({})",
                    join_counts(&counts, ", ", " ")
                ));
            }
        }
        if self.answered > 0 {
            parts.push(format!("{} answered", self.answered));
        }
        (!parts.is_empty()).then(|| format!("... {}", parts.join(", ")))
    }
}

/// Most events a second that have a line each.
const MOST_LINES: u32 = 50;

/// Time at the end for readers that are slow but still read. It is short, because supervisors do
/// not wait long.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Shared;

    #[test]
    fn a_sum_names_the_commonest_cause_first() {
        let mut second = Second::new(Instant::now());
        assert_eq!(second.line(), None);
        for _ in 0..3 {
            second.sum_up(Change::Opened);
            second.sum_up(Change::Closed(Cause::PeerEof));
        }
        second.sum_up(Change::Closed(Cause::PongTimeout));
        second.sum_up(Change::Rejected(Cause::Refused));
        second.sum_up(Change::Answered);
        assert_eq!(
            second.line().as_deref(),
            Some(
                "... 3 opened, 4 closed (peer_eof 3, pong_timeout 1), 1 rejected (refused 1), 1 answered"
            )
        );
    }

    /// Tells of as many openings in one second, and returns what is written of them.
    fn opened(form: Form, count: u32) -> String {
        let sink = Shared::default();
        let mut journal = Journal::new(Output::to(form, sink.clone()).expect("threads"));
        // A second that lasts, however slow the machine is.
        journal.second.began += Duration::from_secs(3_600);
        for _ in 0..count {
            journal.tell(Change::Opened, || Record::new("open"));
        }
        journal.finish();
        sink.text()
    }

    #[test]
    fn above_fifty_events_a_second_the_rest_is_summed_up() {
        assert_eq!(opened(Form::Lines, 50), "open\n".repeat(50));
        let busy = "open\n".repeat(50) + "... 10 opened\n";
        assert_eq!(opened(Form::Lines, 60), busy);
    }

    #[test]
    fn programs_get_every_event() {
        assert_eq!(opened(Form::Json, 60), "{\"event\":\"open\"}\n".repeat(60));
    }

    #[test]
    fn after_a_busy_second_the_next_is_summed_up_until_one_is_calm() {
        let sink = Shared::default();
        let mut journal = Journal::new(Output::to(Form::Lines, sink.clone()).expect("threads"));
        let start = journal.second.began;
        journal.second.events = MOST_LINES + 1;
        journal.turn_page(start + SECOND);
        assert!(journal.was_busy);
        journal.turn_page(start + SECOND * 2);
        assert!(!journal.was_busy);
        // Busy, but long ago.
        journal.second.events = MOST_LINES + 1;
        journal.turn_page(start + SECOND * 9);
        assert!(!journal.was_busy);
        journal.finish();
    }
}
