//! One test for each sentence of the rule, on virtual time with a tick of 10 ms; then against a list of
//! all intervals.

use super::*;
use crate::dice::Dice;

const TICK: Micros = Micros::from_millis(10);

fn ms(millis: u64) -> Micros {
    Micros::from_millis(millis)
}

fn secs(secs: u64) -> Micros {
    Micros::from_secs(secs)
}

impl Lateness {
    /// Lets one interval of lateness go by.
    pub(crate) fn be_late(&mut self, from: Micros, to: Micros) {
        self.late_from = from;
        self.end_turn(to, Micros::MAX);
    }

    /// Lets a turn that begins now follow a stop of the process.
    pub(crate) fn go_on_at(&mut self, now: Micros) {
        self.resumed = now;
    }
}

fn late(intervals: &[(u64, u64)]) -> Lateness {
    let mut lateness = Lateness::new(TICK);
    for &(from, to) in intervals {
        lateness.be_late(ms(from), ms(to));
    }
    lateness
}

#[test]
fn an_interval_begins_a_tick_or_10_ms_after_its_turn_and_ends_with_it() {
    for (tick, len) in [(1, 50), (10, 50), (25, 35)] {
        let mut lateness = Lateness::new(ms(tick));
        lateness.end_turn(ms(900), ms(2_000));
        // An event ended the wait.
        lateness.begin_turn(ms(1_000));
        lateness.end_turn(ms(1_060), Micros::MAX);
        assert_eq!(lateness.total(secs(2)), ms(len), "{tick}");
        assert_eq!(lateness.longest_since(ms(0), secs(2)), ms(len), "{tick}");
        assert_eq!(lateness.longest_since(ms(1_059), secs(2)), ms(1), "{tick}");
        assert_eq!(lateness.longest_since(ms(1_060), secs(2)), ms(0), "{tick}");
    }
}

#[test]
fn an_interval_begins_when_the_wait_should_have_ended_where_that_was_sooner() {
    let mut lateness = Lateness::new(TICK);
    lateness.end_turn(ms(0), ms(100));
    let moment = lateness.begin_turn(ms(400));
    assert_eq!((moment.delay, lateness.is_missed(ms(399))), (ms(300), true));
    let moment = lateness.moment(ms(430));
    assert_eq!(
        (moment.delay, lateness.is_missed(ms(430))),
        (ms(330), false)
    );
    let moment = lateness.end_turn(ms(450), ms(1_000));
    assert_eq!((moment.delay, lateness.is_missed(ms(450))), (ms(0), false));
    assert_eq!(lateness.total(ms(450)), ms(340));
}

#[test]
fn the_limit_of_the_caller_is_when_the_wait_should_end() {
    let mut lateness = Lateness::new(TICK);
    lateness.end_turn(ms(0), ms(1_000));
    lateness.limit_wait(ms(50));
    lateness.begin_turn(ms(100));
    assert_eq!(lateness.total(ms(100)), ms(40));
}

#[test]
fn what_was_asked_for_between_two_turns_is_due_then() {
    let mut lateness = Lateness::new(TICK);
    lateness.look_ahead(ms(0), ms(5));
    assert_eq!(lateness.begin_turn(ms(115)).delay, ms(110));
    // Nothing of what was due then is, any more.
    lateness.end_turn(ms(115), ms(200));
    lateness.look_ahead(ms(115), ms(500));
    assert_eq!(lateness.begin_turn(ms(500)).delay, ms(0));
    // Who looks too late is late.
    lateness.end_turn(ms(500), ms(510));
    lateness.look_ahead(ms(1_520), Micros::MAX);
    assert_eq!(lateness.begin_turn(ms(1_520)).delay, ms(1_010));
}

#[test]
fn within_a_turn_the_interval_reaches_up_to_now() {
    let mut lateness = Lateness::new(TICK);
    lateness.begin_turn(ms(1_000));
    assert_eq!(lateness.longest_since(ms(0), ms(1_010)), ms(0));
    assert_eq!(lateness.longest_since(ms(0), ms(1_030)), ms(20));
    assert_eq!(lateness.longest_since(ms(1_025), ms(1_030)), ms(5));
    assert_eq!(lateness.total_since(ms(1_025), ms(1_030)), ms(5));
}

#[test]
fn a_wait_without_an_end_is_never_late() {
    let mut lateness = Lateness::new(TICK);
    lateness.end_turn(ms(0), Micros::MAX);
    assert_eq!(lateness.delay(secs(1_000)), ms(0));
    lateness.begin_turn(secs(1_000));
    assert_eq!(lateness.total(secs(1_000)), ms(0));
}

#[test]
fn the_longest_single_interval_counts_and_never_the_sum() {
    let lateness = late(&[(100, 140), (200, 270), (300, 330)]);
    for (since, len) in [
        (0, 70),
        (200, 70),
        (230, 40),
        (250, 30),
        (310, 20),
        (330, 0),
    ] {
        assert_eq!(
            lateness.longest_since(ms(since), secs(1)),
            ms(len),
            "{since}"
        );
    }
    assert_eq!(lateness.total_since(ms(0), secs(1)), ms(140));
    assert_eq!(lateness.total_since(ms(230), secs(1)), ms(70));
}

#[test]
fn a_deadline_is_put_off_by_the_longest_interval_since_it_was_armed() {
    let lateness = late(&[(100, 900), (1_200, 1_300), (1_400, 1_450)]);
    let judged = |armed| lateness.judged(ms(2_000), ms(armed), secs(1), ms(2_000));
    assert_eq!(judged(0), ms(2_800));
    assert_eq!(judged(890), ms(2_100));
    assert_eq!(judged(1_000), ms(2_100));
    assert_eq!(judged(1_350), ms(2_050));
    assert_eq!(judged(1_450), ms(2_000));
}

#[test]
fn a_deadline_is_put_off_by_no_more_than_it_allows() {
    let lateness = late(&[(100, 900)]);
    let judged = lateness.judged(ms(2_000), ms(0), ms(300), ms(2_000));
    assert_eq!(judged, ms(2_300));
}

#[test]
fn a_deadline_within_an_interval_counts_from_its_end() {
    let lateness = late(&[(100, 900), (1_500, 1_600)]);
    let judged = |deadline| lateness.judged(ms(deadline), ms(0), ms(300), ms(2_000));
    assert_eq!(judged(99), ms(399));
    assert_eq!(judged(100), ms(1_200));
    assert_eq!(judged(899), ms(1_200));
    assert_eq!(judged(900), ms(1_200));
    assert_eq!(judged(1_550), ms(1_900));
}

#[test]
fn nobody_is_judged_in_the_turn_whose_lateness_his_deadline_fell_into() {
    let mut lateness = Lateness::new(TICK);
    lateness.end_turn(ms(0), ms(100));
    lateness.begin_turn(ms(1_000));
    let judged = |now| lateness.judged(ms(500), ms(0), secs(9), now);
    assert_eq!(judged(ms(1_000)), ms(1_890));
    assert_eq!(judged(ms(1_200)), ms(2_290));
    // It was over before that turn was late.
    let judged = lateness.judged(ms(105), ms(0), secs(9), ms(1_000));
    assert_eq!(judged, ms(995));
}

#[test]
fn no_deadline_is_put_off_beyond_what_stamps_tell_apart() {
    let day = |days: u64| secs(days * 24 * 60 * 60);
    let mut lateness = Lateness::new(TICK);
    lateness.be_late(day(1), day(101));
    let judged = lateness.judged(day(2), day(1), day(12), day(101));
    assert_eq!(judged, day(107));
}

#[test]
fn a_loop_that_is_never_late_is_healthy() {
    let mut lateness = Lateness::new(TICK);
    for turn in 0..1_000 {
        lateness.begin_turn(ms(turn * 50));
        lateness.end_turn(ms(turn * 50 + 9), ms(turn * 50 + 50));
    }
    assert_eq!(lateness.health(), 1_000);
    assert_eq!(lateness.total(secs(50)), ms(0));
}

#[test]
fn a_busy_loop_is_as_healthy_as_the_share_of_time_it_keeps_and_recovers() {
    let mut lateness = Lateness::new(TICK);
    for turn in 0..1_000 {
        // 50 ms of each 100 count.
        lateness.begin_turn(ms(turn * 100));
        lateness.end_turn(ms(turn * 100 + 60), ms(turn * 100 + 100));
    }
    let health = lateness.health();
    assert!((450..=550).contains(&health), "{health}");
    for turn in 1_000..2_000 {
        lateness.begin_turn(ms(turn * 100));
        lateness.end_turn(ms(turn * 100), ms(turn * 100 + 100));
    }
    assert!(lateness.health() > 990);
}

#[test]
fn a_stop_of_the_process_counts_once_and_in_full() {
    let mut lateness = Lateness::new(TICK);
    lateness.end_turn(ms(0), ms(100));
    lateness.begin_turn(ms(5_100));
    assert!(lateness.is_missed(ms(5_099)));
    lateness.end_turn(ms(5_100), Micros::MAX);
    assert_eq!(lateness.health(), 501);
    assert_eq!(lateness.total(ms(5_100)), ms(4_990));
}

#[test]
fn what_a_stop_left_over_was_missed_by_it_in_the_turns_behind_it_too() {
    let mut lateness = Lateness::new(TICK);
    lateness.end_turn(ms(0), ms(100));
    assert!(!lateness.is_missed(ms(50)));
    lateness.begin_turn(ms(5_100));
    for _ in 0..3 {
        assert!(lateness.is_missed(ms(4_000)));
        assert!(lateness.is_missed(ms(5_099)));
        // What came due later is not.
        assert!(!lateness.is_missed(ms(5_100)));
        lateness.end_turn(ms(5_105), ms(5_105));
        lateness.begin_turn(ms(5_105));
    }
}

/// A turn that is only late is no stop, and one that takes long is none either.
#[test]
fn lateness_of_another_kind_is_no_stop() {
    let mut lateness = Lateness::new(TICK);
    lateness.end_turn(ms(0), ms(100));
    lateness.begin_turn(ms(350));
    lateness.end_turn(ms(2_000), ms(2_000));
    lateness.begin_turn(ms(2_000));
    assert!(!lateness.is_missed(ms(200)));
}

// Against a list of all intervals.

/// All intervals, and the rule as it is said.
#[derive(Default)]
struct All(Vec<(u64, u64)>);

impl All {
    fn since(&self, since: u64) -> impl Iterator<Item = u64> {
        let cut = move |&(from, to): &(u64, u64)| to.saturating_sub(from.max(since));
        self.0.iter().map(cut)
    }

    fn longest(&self, since: u64) -> u64 {
        self.since(since).max().unwrap_or(0)
    }

    fn total(&self, since: u64) -> u64 {
        self.since(since).sum()
    }

    fn judged(&self, deadline: u64, armed: u64, most: u64) -> u64 {
        let around = |&&(from, to): &&(u64, u64)| (from..to).contains(&deadline);
        let from = self.0.iter().find(around).map_or(deadline, |one| one.1);
        from + self.longest(armed).min(most)
    }
}

/// A loop that is late now and then, each time for up to `longest` µs.
fn play(seed: u64, turns: usize, longest: u64) -> (Lateness, All, u64, Dice) {
    let mut dice = Dice::new(seed);
    let (mut lateness, mut all) = (Lateness::new(TICK), All::default());
    let threshold = TICK.as_micros();
    let mut now = 1_000;
    lateness.begin_turn(Micros::new(now));
    let mut began = now;
    for _ in 0..turns {
        now += dice.below(threshold + longest);
        if now > began + threshold {
            all.0.push((began + threshold, now));
        }
        let should_end = now + dice.below(30_000);
        lateness.end_turn(Micros::new(now), Micros::new(should_end));
        now = match dice.below(4) {
            0 => now + dice.below(should_end - now),
            1 => should_end + dice.below(longest),
            _ => should_end + dice.below(threshold),
        };
        began = now.min(should_end);
        lateness.begin_turn(Micros::new(now));
    }
    // A turn is under way.
    now += dice.below(threshold + longest);
    if now > began + threshold {
        all.0.push((began + threshold, now));
    }
    (lateness, all, now, dice)
}

#[test]
fn it_says_what_a_list_of_all_intervals_says() {
    for seed in 0..200 {
        let (lateness, all, now, mut dice) = play(seed, 1 + seed as usize * 7, 200_000);
        let at = Micros::new(now);
        let known = lateness.longest.len() < LONGEST;
        assert!(known, "seed {seed}: so many are kept by chance alone");
        for _ in 0..100 {
            let armed = dice.below(now);
            let since = Micros::new(armed);
            let longest = lateness.longest_since(since, at);
            assert_eq!(longest.as_micros(), all.longest(armed), "seed {seed}");
            let total = lateness.total_since(since, at);
            assert_eq!(total.as_micros(), all.total(armed), "seed {seed}");
            let deadline = armed + dice.below(2 * (now - armed));
            let most = dice.below(250_000);
            let judged = lateness.judged(Micros::new(deadline), since, Micros::new(most), at);
            // Before its time nobody asks how much later it is.
            let law = match deadline > now {
                true => deadline,
                false => all.judged(deadline, armed, most),
            };
            assert_eq!(judged.as_micros(), law, "seed {seed}: {armed} {deadline}");
        }
    }
}

#[test]
fn what_is_forgotten_is_forgiven() {
    // Ever shorter intervals, so that none is as long as one before it; and more than are kept.
    let count = 3 * RECENT as u64;
    let (mut lateness, mut all) = (Lateness::new(TICK), All::default());
    let mut end = 0;
    for number in 0..count {
        let start = end + 1_000_000;
        end = start + 1_000_000 - number * 100;
        lateness.be_late(Micros::new(start), Micros::new(end));
        all.0.push((start, end));
    }
    assert_eq!(
        (lateness.longest.len(), lateness.recent.len()),
        (LONGEST, RECENT)
    );
    let (now, mut dice) = (Micros::new(end), Dice::new(7));
    for _ in 0..2_000 {
        let armed = dice.below(end);
        let since = Micros::new(armed);
        let (longest, law) = (lateness.longest_since(since, now), all.longest(armed));
        let more = longest.as_micros().checked_sub(law);
        assert!(
            more.is_some_and(|more| more <= 1_000_000 / 60),
            "{more:?} at {armed}"
        );
        let total = lateness.total_since(since, now).as_micros();
        assert!(
            total >= all.total(armed) && total <= end - armed,
            "at {armed}"
        );
        let deadline = armed + dice.below(end - armed);
        let judged = lateness.judged(Micros::new(deadline), since, secs(9), now);
        let law = all.judged(deadline, armed, 9_000_000);
        let more = judged.as_micros().checked_sub(law);
        assert!(
            more.is_some_and(|more| more <= longest.as_micros() + 1_000_000 / 60),
            "{more:?} at {armed}"
        );
    }
}

#[test]
fn a_deadline_within_a_stop_counts_from_its_end_however_many_short_intervals_follow() {
    let mut lateness = late(&[(1_000, 91_000)]);
    let short = 2 * RECENT as u64;
    for turn in 0..short {
        let start = 91_010 + turn * 20;
        lateness.be_late(ms(start), ms(start + 10));
    }
    let now = ms(91_010 + short * 20);
    let judged = lateness.judged(ms(60_000), ms(500), secs(50), now);
    assert_eq!(judged, ms(141_000));
}

#[test]
fn a_loop_that_is_busy_for_good_takes_what_was_reserved_and_no_more() {
    let fresh = Lateness::new(TICK);
    let (lateness, ..) = play(3, 100_000, 50_000);
    assert_eq!(lateness.recent.len(), RECENT);
    assert_eq!(lateness.longest.capacity(), fresh.longest.capacity());
    assert_eq!(lateness.recent.capacity(), fresh.recent.capacity());
    assert_eq!(size_of::<Interval>() * RECENT, 48 * 1024);
}

#[test]
fn nothing_is_judged_sooner_because_time_goes_on() {
    for seed in 0..50 {
        let mut dice = Dice::new(seed);
        let mut lateness = Lateness::new(TICK);
        let (armed, deadline) = (secs(1), secs(3));
        let (mut now, mut judged) = (0, Micros::ZERO);
        lateness.begin_turn(Micros::ZERO);
        for _ in 0..2_000 {
            now += dice.below(40_000);
            let at = Micros::new(now);
            match dice.below(3) {
                0 => drop(lateness.end_turn(at, at + Micros::new(dice.below(20_000)))),
                1 => drop(lateness.begin_turn(at)),
                _ => {}
            }
            let next = lateness.judged(deadline, armed, secs(2), at);
            assert!(
                next >= judged,
                "seed {seed}: {judged:?}, then {next:?} at {at:?}"
            );
            judged = next;
        }
    }
}
