//! The count of our own lateness. What the clock says is handed in.

use crate::proto::time::{Micros, Moment};

/// Core time from the monotonic clock, and how late the loop is.
///
/// For each turn: how much later the wait ended than it should have, plus the time spent inside the
/// turn. What of that exceeds the larger of the tick and 10 ms is ours to answer for. Only the excess:
/// a loop that is busy for good would otherwise forgive its peers for ever.
#[derive(Debug)]
pub(super) struct Clock {
    /// Lateness of the turns that are over.
    late: Micros,
    /// By when the present wait should end.
    should_end: Micros,
    /// When the present turn's wait ended.
    turn_began: Micros,
    /// How much too late that was.
    wait_late: Micros,
    threshold: Micros,
    /// Time that the machine has slept, as far as it was noticed.
    slept: Micros,
    health: Health,
}

impl Clock {
    /// Begins to count; `slept` is for how long the machine has slept until now.
    pub(super) fn new(tick: Micros, slept: Micros) -> Self {
        Self {
            slept,
            late: Micros::ZERO,
            should_end: Micros::MAX,
            turn_began: Micros::ZERO,
            wait_late: Micros::ZERO,
            threshold: tick.max(Micros::from_millis(10)),
            health: Health::default(),
        }
    }

    /// Notes that a turn is over, `now`, and that the next wait should end by `should_end`.
    pub(super) fn end_turn(&mut self, now: Micros, should_end: Micros) -> Moment {
        let late = self.moment(now).late;
        self.health.note(now, late - self.late);
        self.late = late;
        self.should_end = should_end.max(now);
        // Until the wait is over nothing more counts.
        self.turn_began = now;
        self.wait_late = Micros::ZERO;
        self.moment(now)
    }

    /// Notes that the caller's limit lets the wait end sooner than [`end_turn`](Self::end_turn) said.
    pub(super) fn limit_wait(&mut self, now: Micros, longest: Micros) {
        self.should_end = self.should_end.min(now + longest);
    }

    /// Notes that the wait is over.
    pub(super) fn begin_turn(&mut self, now: Micros) -> Moment {
        self.turn_began = now;
        self.wait_late = now - self.should_end;
        self.moment(now)
    }

    /// Returns how late this turn is at `now`, whether or not it is enough to count.
    pub(super) fn delay(&self, now: Micros) -> Micros {
        self.wait_late + (now - self.turn_began)
    }

    /// Returns for how long the machine has slept since this was last asked, if it has; `slept` is how long
    /// in all.
    pub(super) fn take_sleep(&mut self, slept: Micros) -> Option<Micros> {
        let span = slept - self.slept;
        self.slept = self.slept.max(slept);
        (span >= LEAST_SLEEP).then_some(span)
    }

    /// Returns the share of recent time that the loop was not late, in thousandths.
    pub(super) fn health(&self) -> u32 {
        self.health.share()
    }

    /// Returns a moment of the present turn.
    pub(super) fn moment(&self, at: Micros) -> Moment {
        let delay = self.delay(at);
        Moment {
            at,
            late: self.late + (delay - self.threshold),
            delay,
            stalled: self.wait_late > STALL,
        }
    }
}

/// How much of recent time the loop was late: a mean that forgets with a time constant of ten seconds.
#[derive(Debug, Default)]
struct Health {
    noted: Micros,
    /// Lateness in the window, µs.
    late: u64,
}

impl Health {
    fn note(&mut self, now: Micros, late: Micros) {
        if self.late == 0 && late == Micros::ZERO {
            self.noted = now;
            return;
        }
        let window = HEALTH_WINDOW.as_micros();
        let passed = (now - self.noted).as_micros().min(window);
        self.late -= (u128::from(self.late) * u128::from(passed) / u128::from(window)) as u64;
        self.late = (self.late + late.as_micros()).min(window);
        self.noted = now;
    }

    fn share(&self) -> u32 {
        let late = self.late * 1_000 / HEALTH_WINDOW.as_micros();
        1_000 - u32::try_from(late).unwrap_or(1_000)
    }
}

/// A wait that ends this much too late has been a stop of the whole process, not a busy turn.
const STALL: Micros = Micros::from_millis(250);

/// A machine that slept for less was hardly gone; reading two clocks one after the other differs too.
const LEAST_SLEEP: Micros = Micros::from_secs(1);

const HEALTH_WINDOW: Micros = Micros::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock whose hands the test moves.
    struct Script {
        now: Micros,
        slept: Micros,
        clock: Clock,
    }

    impl Script {
        fn new() -> Self {
            Self {
                now: Micros::ZERO,
                slept: Micros::ZERO,
                clock: Clock::new(Micros::from_millis(10), Micros::ZERO),
            }
        }

        /// Lets time pass, and perhaps sleep.
        fn pass(&mut self, millis: u64, slept: u64) {
            self.now = self.now + Micros::from_millis(millis);
            self.slept = self.slept + Micros::from_secs(slept);
        }

        /// Makes one turn of so long, after a wait that should have taken as long as it did.
        fn turn(&mut self, wait: u64, millis: u64) {
            let until = self.now + Micros::from_millis(wait);
            self.clock.end_turn(self.now, until);
            self.pass(wait, 0);
            self.clock.begin_turn(self.now);
            self.pass(millis, 0);
            self.clock.end_turn(self.now, Micros::MAX);
        }

        fn late(&self) -> Micros {
            self.clock.moment(self.now).late
        }
    }

    #[test]
    fn f7_a_machine_that_slept_is_noticed_once() {
        let mut script = Script::new();
        script.pass(4, 0);
        assert_eq!(script.clock.take_sleep(script.slept), None);
        script.pass(4, 600);
        assert_eq!(
            script.clock.take_sleep(script.slept),
            Some(Micros::from_secs(600))
        );
        assert_eq!(script.clock.take_sleep(script.slept), None);
        assert_eq!(script.late(), Micros::ZERO, "it is nobody's fault");
    }

    #[test]
    fn a_loop_that_is_never_late_is_healthy() {
        let mut script = Script::new();
        for _ in 0..1_000 {
            script.turn(50, 9);
        }
        assert_eq!(script.clock.health(), 1_000);
    }

    #[test]
    fn a_busy_loop_is_as_healthy_as_the_share_of_time_it_keeps_and_recovers() {
        let mut script = Script::new();
        for _ in 0..1_000 {
            // 50 ms of each 100 count.
            script.turn(40, 60);
        }
        let health = script.clock.health();
        assert!((450..=550).contains(&health), "{health}");
        for _ in 0..1_000 {
            script.turn(100, 0);
        }
        assert!(script.clock.health() > 990);
    }

    #[test]
    fn a_stop_of_the_process_counts_once_and_in_full() {
        let mut script = Script::new();
        script
            .clock
            .end_turn(Micros::ZERO, Micros::from_millis(100));
        script.pass(5_100, 0);
        let moment = script.clock.begin_turn(script.now);
        assert_eq!(moment.late, Micros::from_millis(4_990));
        assert!(moment.stalled);
        script.clock.end_turn(script.now, Micros::MAX);
        assert_eq!(script.clock.health(), 501);
        assert_eq!(script.late(), Micros::from_millis(4_990));
    }
}
