//! All candidates and all that is measured of them, in one table.

use std::time::{Duration, Instant};

use super::candidates::{CANDIDATES, Candidate};
use super::check::fixed_bytes;
use super::load::{Operation, Subject};

/// One candidate: the least of each operation so far, in nanoseconds.
struct Row {
    name: &'static str,
    subject: Box<dyn Subject>,
    least: [f64; Operation::ALL.len()],
}

impl Row {
    fn new(candidate: &Candidate, keys: usize) -> Self {
        Self {
            name: candidate.name,
            subject: (candidate.armed)(keys),
            least: [f64::MAX; Operation::ALL.len()],
        }
    }

    /// Does it at least once, and again until the turn is over.
    fn measure(&mut self, operation: Operation, keys: usize, turn: Duration) {
        let iters = match operation {
            Operation::Fire => keys as u64,
            Operation::WorstTick => 1,
            _ => keys as u64 / 10,
        };
        let least = &mut self.least[operation as usize];
        let start = Instant::now();
        loop {
            let took = self.subject.run(operation, iters);
            *least = least.min(took.as_nanos() as f64 / iters as f64);
            if start.elapsed() >= turn {
                return;
            }
        }
    }

    fn least(&self, operation: Operation) -> f64 {
        self.least[operation as usize]
    }

    fn print(&self, keys: usize) {
        let [schedule, cancel, later, earlier, fire, worst_tick] = self.least;
        let worst_tick = worst_tick / 1e3;
        let bytes = self.subject.bytes() as f64 / keys as f64;
        println!(
            "| {:29} | {schedule:8.1} | {cancel:6.1} | {later:13.1} | {earlier:15.1} | {fire:6.1} \
             | {worst_tick:13.0} | {bytes:11.2} |",
            self.name
        );
    }
}

/// Measures all candidates in turns, for so many rounds, so that whatever else the machine does meets
/// them alike.
pub(crate) fn print(keys: usize, rounds: usize, turn: Duration) {
    println!("\n{keys} keys; the least that was measured, in nanoseconds if not said:\n");
    let mut rows = CANDIDATES.map(|candidate| Row::new(&candidate, keys));
    for operation in Operation::ALL {
        for _ in 0..rounds {
            for row in &mut rows {
                row.measure(operation, keys, turn);
            }
        }
    }
    println!(
        "| candidate                     | schedule | cancel | refresh later | refresh earlier \
         |   fire | worst tick µs | bytes/timer |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|");
    for row in &rows {
        row.print(keys);
    }
    let [wheel, list, ..] = &rows;
    let ratio = wheel.least(Operation::Fire) / list.least(Operation::Fire);
    println!("\nfire, {} to {}: {ratio:.2}", wheel.name, list.name);
    println!("{} without keys: {} bytes", wheel.name, fixed_bytes());
}
