//! One test for each sentence of the contract: interval 10 s, timeout 25 s, tick 10 ms, no slack.

use std::time::Duration;

use super::*;
use crate::config::HeartbeatConfig;
use crate::sizes::sizes;

/// A heartbeat and its policy, driven by literal times.
struct Bench {
    timing: Timing,
    heartbeat: Heartbeat,
    lateness: Lateness,
}

impl Bench {
    fn new(change: impl FnOnce(&mut HeartbeatConfig)) -> Self {
        Self::with_phase(PingPhase::ZERO, Micros::ZERO, change)
    }

    fn with_phase(
        phase: PingPhase,
        opened: Micros,
        change: impl FnOnce(&mut HeartbeatConfig),
    ) -> Self {
        let timing = timing(change);
        let heartbeat = Heartbeat::new(&timing, phase, Moment::on_time(opened));
        Self {
            timing,
            heartbeat,
            lateness: Lateness::new(Micros::from_millis(10)),
        }
    }

    fn timeout(&mut self, now: Moment) -> Verdict {
        let lateness = &self.lateness;
        self.heartbeat.handle_timeout(&self.timing, now, lateness)
    }

    /// Lets a stop of the whole process be over now, in milliseconds.
    fn resumed(&mut self, millis: u64) -> Moment {
        let now = ms(millis);
        self.lateness.go_on_at(now.at);
        now
    }

    /// Lets the loop be late for a while, in milliseconds.
    fn late(&mut self, from: u64, to: u64) {
        let [from, to] = [from, to].map(Micros::from_millis);
        self.lateness.be_late(from, to);
    }

    fn forgiveness(&self, now: Moment) -> Micros {
        let lateness = &self.lateness;
        self.heartbeat.forgiveness(&self.timing, now, lateness)
    }

    fn is_late(&self, now: Moment) -> bool {
        let lateness = &self.lateness;
        self.heartbeat.is_late(&self.timing, now, lateness)
    }

    fn written(&mut self, now: Moment) {
        self.heartbeat
            .handle_ping_written(&self.timing, now, &self.lateness);
    }

    /// Expects a ping to be due and writes it at once.
    fn ping(&mut self, now: Moment) {
        assert_eq!(self.timeout(now), Verdict::Ping, "at {now:?}");
        self.written(now);
    }

    fn bytes(&mut self, now: Moment) {
        self.heartbeat.handle_bytes(&self.timing, now);
    }

    fn pong(&mut self, now: Moment, number: u32) -> PongMatch {
        self.heartbeat.handle_pong(&self.timing, now, Some(number))
    }

    fn spare_slow(&mut self, now: Moment, kernel: Option<KernelFigures>) -> bool {
        let kernel = kernel.as_ref();
        self.heartbeat.spare_slow(&self.timing, now, kernel)
    }

    fn judge(&self, kernel: Option<KernelFigures>) -> Cause {
        self.heartbeat.judge(&self.timing, false, false, kernel)
    }
}

fn timing(change: impl FnOnce(&mut HeartbeatConfig)) -> Timing {
    let mut config = HeartbeatConfig {
        ping_slack: Some(Duration::ZERO),
        ..HeartbeatConfig::tcp()
    };
    change(&mut config);
    Timing::new(&config, Duration::from_millis(10)).unwrap()
}

fn secs(secs: u64) -> Moment {
    ms(secs * 1_000)
}

fn ms(millis: u64) -> Moment {
    Moment::on_time(Micros::from_millis(millis))
}

fn us(micros: u64) -> Moment {
    Moment::on_time(Micros::new(micros))
}

fn wait(secs: u64) -> Verdict {
    Verdict::Wait(Micros::from_secs(secs))
}

fn figures(unacked: u32, retransmits: u32, window: u32) -> Option<KernelFigures> {
    Some(KernelFigures {
        unacked,
        retransmits,
        window,
        ..KernelFigures::default()
    })
}

// The grid.

#[test]
fn pings_are_due_at_phase_plus_whole_intervals() {
    let quarter = PingPhase::new(1 << 30);
    let mut bench = Bench::with_phase(quarter, Micros::from_secs(1), |_| {});
    for due in [2_500, 12_500, 22_500, 32_500] {
        assert_eq!(
            bench.timeout(ms(due - 1)),
            Verdict::Wait(Micros::from_millis(due))
        );
        bench.ping(ms(due));
        bench.bytes(ms(due + 1));
    }
}

#[test]
fn traffic_does_not_move_the_ping_grid() {
    let mut bench = Bench::new(|_| {});
    bench.bytes(secs(9));
    bench.ping(secs(10));
    bench.bytes(secs(11));
    bench.heartbeat.handle_frame(&bench.timing, secs(12));
    bench.heartbeat.handle_written(secs(13), 10);
    assert_eq!(
        bench.pong(secs(14), 1),
        PongMatch::Answer {
            rtt: Some(Micros::from_secs(4))
        }
    );
    assert_eq!(bench.timeout(secs(15)), wait(20));
    bench.ping(secs(20));
}

#[test]
fn a_ping_sent_late_does_not_move_the_grid() {
    let mut bench = Bench::new(|_| {});
    bench.ping(ms(10_009));
    assert_eq!(bench.timeout(ms(10_010)), wait(20));
}

#[test]
fn missed_beats_are_skipped_and_not_caught_up() {
    let mut bench = Bench::new(|config| config.timeout = None);
    bench.ping(secs(47));
    assert_eq!(bench.timeout(secs(47)), wait(50));
    assert_eq!(bench.heartbeat.pings(), (1, 1, 0));
}

#[test]
fn after_a_stall_the_next_ping_is_the_next_grid_point() {
    let mut bench = Bench::new(|_| {});
    bench.late(10_000, 12_000);
    let now = bench.resumed(12_000);
    assert_eq!(bench.timeout(now), wait(20));
    assert_eq!(bench.heartbeat.pings(), (0, 0, 0));
    bench.ping(secs(20));
}

#[test]
fn a_ping_that_falls_due_in_the_stalled_turn_itself_is_sent() {
    let mut bench = Bench::new(|_| {});
    let now = bench.resumed(10_010);
    bench.ping(now);
}

/// A turn that begins with what the stop left over may also find what came due since.
#[test]
fn a_ping_that_fell_due_after_the_stop_is_sent_however_late() {
    let mut bench = Bench::new(|_| {});
    bench.resumed(9_990);
    assert_eq!(bench.timeout(ms(10_400)), Verdict::Ping);
    let mut bench = Bench::new(|_| {});
    bench.resumed(10_011);
    assert_eq!(bench.timeout(ms(10_400)), wait(20));
}

#[test]
fn a_loop_that_is_always_late_still_pings_every_other_time() {
    let mut bench = Bench::new(|config| config.timeout = None);
    let now = bench.resumed(11_000);
    assert_eq!(bench.timeout(now), wait(20));
    let now = bench.resumed(21_000);
    bench.ping(now);
    let now = bench.resumed(31_000);
    assert_eq!(bench.timeout(now), wait(40));
    let now = bench.resumed(41_000);
    bench.ping(now);
}

#[test]
fn slack_moves_pings_to_a_common_quantum_and_never_adds_up() {
    let mut bench = Bench::with_phase(PingPhase::new(0x0123_4567), Micros::ZERO, |config| {
        config.ping_slack = Some(Duration::from_millis(50));
    });
    // The phase is 44.4 ms, quantised to multiples of 100 ms.
    for due in [10_000, 20_000, 30_000, 40_000] {
        bench.ping(ms(due));
        bench.bytes(ms(due + 1));
        assert_eq!(
            bench.timeout(ms(due + 1)),
            Verdict::Wait(Micros::from_millis(due + 10_000))
        );
    }
}

#[test]
fn golden_phases_keep_every_window_within_a_twentieth_of_the_mean() {
    for count in [20_000u32, 100_000] {
        for start in [0, 0x5EED_CAFE] {
            let mut phase = PingPhase::new(start);
            let mut bins = [0u32; 100];
            for _ in 0..count {
                let place = phase.of(Micros::from_secs(10)).as_millis() / 100;
                bins[usize::try_from(place).unwrap()] += 1;
                phase = phase.next();
            }
            let mean = count / 100;
            for (window, &pings) in bins.iter().enumerate() {
                assert!(
                    pings.abs_diff(mean) * 20 <= mean,
                    "{pings} in window {window}, mean {mean}, start {start:#x}"
                );
            }
        }
    }
}

#[test]
fn f36_another_interval_scales_the_phase() {
    let half = PingPhase::new(1 << 31);
    let mut bench = Bench::with_phase(half, Micros::ZERO, |_| {});
    assert_eq!(bench.timeout(secs(1)), wait(5));
    bench.timing = timing(|config| {
        config.interval = Some(Duration::from_secs(4));
    });
    bench.heartbeat.handle_policy(&bench.timing, secs(3));
    assert_eq!(bench.timeout(secs(3)), wait(6));
    bench.ping(secs(6));
}

// Silence.

#[test]
fn silence_ends_at_the_timeout_and_never_before() {
    let mut bench = Bench::new(|_| {});
    bench.bytes(us(3_000_001));
    bench.ping(secs(10));
    bench.ping(secs(20));
    assert_eq!(
        bench.timeout(us(28_000_000)),
        Verdict::Wait(Micros::new(28_001_000))
    );
    assert!(
        !bench
            .heartbeat
            .is_silent(&bench.timing, us(28_000_999), &bench.lateness)
    );
    assert_eq!(bench.timeout(us(28_001_000)), Verdict::Silent);
}

#[test]
fn a_byte_read_before_the_verdict_wins() {
    let mut bench = Bench::new(|_| {});
    bench.ping(secs(10));
    bench.ping(secs(20));
    assert_eq!(bench.timeout(secs(25)), Verdict::Silent);
    bench.bytes(secs(25));
    assert!(
        !bench
            .heartbeat
            .is_silent(&bench.timing, secs(25), &bench.lateness)
    );
    assert_eq!(bench.timeout(secs(25)), wait(30));
}

#[test]
fn several_pings_may_be_outstanding() {
    let mut bench = Bench::new(|config| config.timeout = Some(Duration::from_secs(60)));
    for at in [10, 20, 30, 40] {
        bench.ping(secs(at));
    }
    assert_eq!(bench.heartbeat.pings(), (4, 4, 0));
    assert!(matches!(bench.pong(secs(41), 2), PongMatch::Answer { .. }));
    assert!(matches!(bench.pong(secs(42), 4), PongMatch::Answer { .. }));
    assert_eq!(bench.heartbeat.pings(), (4, 4, 4));
}

#[test]
fn f48_with_the_interval_off_silence_still_ends() {
    let mut bench = Bench::new(|config| config.interval = None);
    bench.bytes(secs(30));
    assert_eq!(bench.timeout(secs(54)), wait(55));
    assert_eq!(bench.timeout(secs(55)), Verdict::Silent);
    assert_eq!(bench.judge(figures(0, 0, 100)), Cause::Silent);
}

#[test]
fn with_the_interval_off_a_ping_by_hand_does_not_postpone_the_end() {
    let mut bench = Bench::new(|config| config.interval = None);
    bench
        .heartbeat
        .handle_ping_queued(&bench.timing, secs(24), &bench.lateness);
    bench.written(secs(24));
    assert_eq!(bench.timeout(secs(25)), Verdict::Silent);
}

#[test]
fn with_the_timeout_off_no_verdict_ever_falls() {
    let mut bench = Bench::new(|config| config.timeout = None);
    for at in 1..100 {
        bench.ping(secs(at * 10));
    }
}

#[test]
fn with_both_off_there_is_no_deadline() {
    let bench = Bench::new(|config| {
        config.interval = None;
        config.timeout = None;
    });
    assert_eq!(
        bench
            .heartbeat
            .deadline(&bench.timing, secs(5), &bench.lateness),
        Micros::MAX
    );
}

#[test]
fn f41_our_own_writes_are_no_proof_of_life() {
    let mut bench = Bench::new(|_| {});
    for at in 1..25 {
        bench.heartbeat.handle_written(secs(at), 10);
        if at % 10 == 0 {
            bench.ping(secs(at));
        }
    }
    assert_eq!(bench.timeout(secs(25)), Verdict::Silent);
}

#[test]
fn the_first_proof_is_the_opening() {
    let mut bench = Bench::with_phase(PingPhase::ZERO, Micros::from_secs(3), |_| {});
    bench.heartbeat.handle_open(&bench.timing, secs(7));
    bench.ping(secs(10));
    bench.ping(secs(20));
    bench.ping(secs(30));
    assert_eq!(bench.timeout(secs(31)), wait(32));
    assert_eq!(bench.timeout(secs(32)), Verdict::Silent);
}

#[test]
fn the_longest_timeout_ends_too() {
    let day = 24 * 60 * 60;
    let mut bench = Bench::new(|config| {
        config.interval = None;
        config.timeout = Some(HeartbeatConfig::LONGEST);
    });
    // A session visits its heartbeat at least this often.
    let visit = u64::from(Stamp::VISIT) / 1_000;
    let mut at = 0;
    while at + visit < 12 * day {
        at += visit;
        assert_eq!(bench.timeout(secs(at)), wait(12 * day), "at {at}");
    }
    assert_eq!(bench.timeout(secs(12 * day)), Verdict::Silent);
    assert_eq!(bench.timeout(secs(12 * day + visit)), Verdict::Silent);
}

#[test]
fn f47_nothing_happens_when_milliseconds_pass_two_to_the_32() {
    let wrap = 1u64 << 32;
    let mut bench = Bench::with_phase(PingPhase::ZERO, Micros::from_millis(wrap - 15_000), |_| {});
    // The grid is 4 294 960 s, 4 294 970 s, ...; the wrap lies at 4 294 967.296 s.
    bench.ping(secs(4_294_960));
    bench.bytes(secs(4_294_961));
    assert_eq!(bench.timeout(secs(4_294_961)), wait(4_294_970));
    bench.ping(secs(4_294_970));
    bench.ping(secs(4_294_980));
    assert_eq!(bench.timeout(secs(4_294_985)), wait(4_294_986));
    assert_eq!(bench.timeout(secs(4_294_986)), Verdict::Silent);
}

#[test]
fn rounding_takes_no_more_than_half_the_time_to_answer() {
    // Pings share wake-ups 4.8 s apart: this one comes 14.3 s after the last proof, though the grid
    // promises one within 10 s.
    let opened = Micros::from_millis(110_500);
    let mut bench = Bench::with_phase(PingPhase::new(1 << 30), opened, |config| {
        config.ping_slack = Some(Duration::from_millis(2_400));
        config.timeout = Some(Duration::from_millis(10_500));
    });
    let wait = |at| Verdict::Wait(Micros::from_millis(at));
    assert_eq!(bench.timeout(ms(121_000)), wait(124_800));
    bench.ping(ms(124_800));
    assert_eq!(bench.timeout(ms(124_800)), wait(125_300));
    assert_eq!(bench.timeout(ms(125_300)), Verdict::Silent);
}

// ping_when = idle.

#[test]
fn idle_skips_a_grid_point_when_proof_came_within_the_last_interval() {
    let mut bench = Bench::new(|config| config.ping_when = PingWhen::Idle);
    bench.bytes(ms(1));
    assert_eq!(bench.timeout(secs(10)), wait(20));
    bench.ping(secs(20));
    bench.bytes(secs(20));
    bench.ping(secs(30));
    assert_eq!(bench.heartbeat.pings(), (2, 2, 0));
}

#[test]
fn idle_counts_silence_from_the_ping_it_sends_after_all() {
    let mut bench = Bench::new(|config| {
        config.ping_when = PingWhen::Idle;
        config.timeout = Some(Duration::from_secs(15));
    });
    bench.bytes(secs(1));
    assert_eq!(bench.timeout(secs(10)), wait(16));
    assert_eq!(bench.timeout(secs(16)), wait(20));
    assert_eq!(bench.timeout(secs(20)), Verdict::Ping);
    // Not yet flushed: neither silent nor stalled.
    assert_eq!(bench.timeout(secs(20)), wait(25));
    bench.written(secs(20));
    assert_eq!(bench.timeout(secs(24)), wait(25));
    assert_eq!(bench.timeout(secs(25)), Verdict::Silent);
}

// Proof of life.

#[test]
fn any_byte_is_proof_by_bytes() {
    let mut bench = Bench::new(|_| {});
    bench.bytes(secs(5));
    assert_eq!(bench.heartbeat.last_proof(secs(6)), Micros::from_secs(1));
}

#[test]
fn only_frames_and_matched_pongs_are_proof_by_message() {
    let mut bench = Bench::new(|config| config.proof = Proof::Message);
    bench.bytes(secs(5));
    assert_eq!(bench.heartbeat.last_proof(secs(6)), Micros::from_secs(6));
    bench.heartbeat.handle_frame(&bench.timing, secs(7));
    assert_eq!(bench.heartbeat.last_proof(secs(8)), Micros::from_secs(1));
    bench.ping(secs(10));
    bench.bytes(secs(11));
    assert_eq!(bench.pong(secs(11), 7), PongMatch::Mismatched);
    assert_eq!(bench.heartbeat.last_proof(secs(11)), Micros::from_secs(4));
    assert!(matches!(bench.pong(secs(12), 1), PongMatch::Answer { .. }));
    assert_eq!(bench.heartbeat.last_proof(secs(12)), Micros::ZERO);
}

#[test]
fn only_matched_pongs_are_proof_by_pong() {
    let mut bench = Bench::new(|config| config.proof = Proof::Pong);
    bench.ping(secs(10));
    bench.bytes(secs(11));
    bench.heartbeat.handle_frame(&bench.timing, secs(11));
    assert_eq!(bench.pong(secs(11), 2), PongMatch::Mismatched);
    assert_eq!(bench.heartbeat.last_proof(secs(11)), Micros::from_secs(11));
    assert!(matches!(bench.pong(secs(12), 1), PongMatch::Answer { .. }));
    assert_eq!(bench.heartbeat.last_proof(secs(12)), Micros::ZERO);
}

#[test]
fn f15_a_pong_with_a_wrong_payload_gives_no_round_trip_and_counts_as_bytes() {
    let mut bench = Bench::new(|_| {});
    bench.ping(secs(10));
    bench.bytes(secs(11));
    assert_eq!(bench.pong(secs(11), 99), PongMatch::Mismatched);
    assert_eq!(bench.heartbeat.rtt(), None);
    assert_eq!(bench.heartbeat.pings(), (1, 1, 0));
    assert_eq!(bench.heartbeat.last_proof(secs(11)), Micros::ZERO);
}

#[test]
fn f15_a_pong_is_wrong_only_while_an_answer_is_awaited() {
    let mut bench = Bench::new(|_| {});
    let foreign = |bench: &mut Bench, at| {
        let heartbeat = &mut bench.heartbeat;
        heartbeat.handle_pong(&bench.timing, secs(at), None)
    };
    assert_eq!(foreign(&mut bench, 1), PongMatch::Unsolicited);
    bench.ping(secs(10));
    assert_eq!(foreign(&mut bench, 11), PongMatch::Mismatched);
    assert!(matches!(bench.pong(secs(12), 1), PongMatch::Answer { .. }));
    assert_eq!(foreign(&mut bench, 13), PongMatch::Unsolicited);
    bench.ping(secs(20));
    // What answered the ping before comes once more: it is ours, and asked for by nobody.
    assert_eq!(bench.pong(secs(21), 1), PongMatch::Unsolicited);
    assert_eq!(bench.pong(secs(21), 0), PongMatch::Mismatched);
}

#[test]
fn f16_a_pong_for_the_newest_ping_settles_the_older_ones() {
    let mut bench = Bench::new(|config| config.timeout = Some(Duration::from_secs(60)));
    for at in [10, 20, 30] {
        bench.ping(secs(at));
    }
    // Ping 1 is the one being timed, so that no figure is made up for the third.
    assert_eq!(bench.pong(secs(31), 3), PongMatch::Answer { rtt: None });
    assert_eq!(bench.heartbeat.pings(), (3, 3, 3));
    assert_eq!(bench.pong(secs(32), 1), PongMatch::Unsolicited);
    bench.ping(secs(40));
    assert_eq!(
        bench.pong(secs(41), 4),
        PongMatch::Answer {
            rtt: Some(Micros::from_secs(1))
        }
    );
}

#[test]
fn answers_that_waited_for_hundreds_of_pings_match_one_by_one() {
    let mut bench = Bench::new(|config| config.timeout = None);
    for number in 1..=500 {
        bench.ping(secs(number * 10));
    }
    for number in 1..=500 {
        let found = bench.pong(secs(5_001), number);
        assert!(matches!(found, PongMatch::Answer { .. }), "{number}");
    }
    assert_eq!(bench.heartbeat.pings(), (500, 500, 500));
}

#[test]
fn f16_a_pong_for_one_of_hundreds_of_pings_settles_those_before_it() {
    let mut bench = Bench::new(|config| config.timeout = None);
    for number in 1..=500 {
        bench.ping(secs(number * 10));
    }
    let found = bench.pong(secs(5_001), 250);
    assert!(matches!(found, PongMatch::Answer { .. }), "{found:?}");
    assert_eq!(bench.heartbeat.pings(), (500, 500, 250));
    assert_eq!(bench.pong(secs(5_002), 250), PongMatch::Unsolicited);
    assert_eq!(bench.pong(secs(5_002), 501), PongMatch::Mismatched);
}

#[test]
fn f14_an_answered_ping_is_not_answered_twice() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(bench.pong(secs(1), 1), PongMatch::Unsolicited);
    bench.ping(secs(10));
    assert!(matches!(bench.pong(secs(11), 1), PongMatch::Answer { .. }));
    assert_eq!(bench.pong(secs(12), 1), PongMatch::Unsolicited);
    assert_eq!(bench.heartbeat.pings(), (1, 1, 1));
}

#[test]
fn pongs_without_tokens_answer_in_order() {
    let mut bench = Bench::new(|_| {});
    let second = Micros::from_secs(1);
    assert_eq!(
        bench.heartbeat.handle_pong_in_order(&bench.timing, secs(1)),
        PongMatch::Unsolicited
    );
    bench.ping(secs(10));
    bench.ping(secs(20));
    let pong = |bench: &mut Bench, at| {
        bench
            .heartbeat
            .handle_pong_in_order(&bench.timing, secs(at))
    };
    assert_eq!(
        pong(&mut bench, 21),
        PongMatch::Answer {
            rtt: Some(second.saturating_mul(11))
        }
    );
    assert_eq!(pong(&mut bench, 22), PongMatch::Answer { rtt: None });
    assert_eq!(pong(&mut bench, 23), PongMatch::Unsolicited);
}

// Written.

#[test]
fn a_ping_counts_from_when_it_was_written() {
    let mut bench = Bench::new(|config| config.timeout = Some(Duration::from_secs(15)));
    bench.bytes(secs(9));
    assert_eq!(bench.timeout(secs(10)), Verdict::Ping);
    // The socket takes the ping only 11.5 s after the last proof: 5 s more are the peer's due.
    bench.written(ms(21_500));
    assert_eq!(bench.timeout(ms(21_500)), Verdict::Ping);
    assert_eq!(
        bench.timeout(ms(26_499)),
        Verdict::Wait(Micros::from_millis(26_500))
    );
    assert_eq!(bench.timeout(ms(26_500)), Verdict::Silent);
}

#[test]
fn a_ping_that_is_never_written_ends_at_the_timeout_all_the_same() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(bench.timeout(secs(10)), Verdict::Ping);
    assert_eq!(bench.timeout(secs(20)), Verdict::Ping);
    assert_eq!(bench.timeout(secs(24)), wait(25));
    assert_eq!(bench.timeout(secs(25)), Verdict::Silent);
    assert_eq!(
        bench
            .heartbeat
            .judge(&bench.timing, true, true, figures(0, 0, 0)),
        Cause::WriteStalled
    );
}

#[test]
fn a_ping_that_waits_behind_moving_output_has_one_more_write_timeout() {
    let mut bench = Bench::new(|_| {});
    bench.heartbeat.handle_written(secs(9), 10);
    assert_eq!(bench.timeout(secs(10)), Verdict::Ping);
    assert_eq!(bench.timeout(secs(20)), Verdict::Ping);
    bench.heartbeat.handle_written(secs(24), 10);
    assert_eq!(bench.timeout(secs(25)), Verdict::Silent);
    assert!(bench.spare_slow(secs(25), Some(holds(50_000, 2))));
    assert_eq!(bench.timeout(secs(25)), wait(30));
    assert_eq!(bench.timeout(secs(30)), Verdict::Ping);
    assert_eq!(bench.timeout(secs(34)), wait(35));
    assert_eq!(bench.timeout(secs(35)), Verdict::Silent);
    assert!(!bench.spare_slow(secs(35), Some(holds(50_000, 2))));
    // Written at last, it has the usual time.
    bench.written(secs(35));
    assert_eq!(bench.timeout(secs(35)), wait(40));
    assert_eq!(bench.timeout(secs(40)), Verdict::Ping);
    assert_eq!(bench.timeout(secs(50)), Verdict::Silent);
}

#[test]
fn a_ping_that_waits_behind_moving_output_has_at_most_twice_the_timeout() {
    for write in [Some(Duration::from_secs(60)), None] {
        let mut bench = Bench::new(|config| config.write_timeout = write);
        for at in [10, 20, 30, 40] {
            assert_eq!(bench.timeout(secs(at)), Verdict::Ping);
            bench.heartbeat.handle_written(secs(at + 1), 10);
            if at == 20 {
                assert_eq!(bench.timeout(secs(25)), Verdict::Silent);
                assert!(bench.spare_slow(secs(25), Some(holds(50_000, 2))));
            }
        }
        assert_eq!(bench.timeout(secs(49)), wait(50));
        assert_eq!(bench.timeout(secs(50)), Verdict::Silent);
    }
}

#[test]
fn f2_output_that_moved_before_its_path_died_does_not_put_the_verdict_off() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(bench.timeout(secs(10)), Verdict::Ping);
    bench.heartbeat.handle_written(secs(11), 10);
    assert_eq!(bench.timeout(secs(20)), Verdict::Ping);
    assert_eq!(bench.timeout(secs(25)), Verdict::Silent);
    let lost = KernelFigures {
        retransmits: 5,
        ..holds(50_000, 13)
    };
    assert!(!bench.spare_slow(secs(25), Some(lost)));
    assert_eq!(bench.judge(Some(lost)), Cause::PathDead);
}

#[test]
fn without_figures_accepted_output_is_what_tells_a_slow_peer_from_a_dead_one() {
    let spared = |accepted: bool| {
        let mut bench = Bench::new(|_| {});
        assert_eq!(bench.timeout(secs(10)), Verdict::Ping);
        if accepted {
            bench.heartbeat.handle_written(secs(11), 10);
        }
        assert_eq!(bench.timeout(secs(20)), Verdict::Ping);
        assert_eq!(bench.timeout(secs(25)), Verdict::Silent);
        bench.spare_slow(secs(25), None)
    };
    assert!(spared(true));
    assert!(!spared(false));
}

/// Bytes that the kernel still holds while the last acknowledgement is so many seconds old.
fn holds(queued: u32, last_ack: u32) -> KernelFigures {
    KernelFigures {
        unacked: 3,
        window: 100,
        queued,
        last_ack: Duration::from_secs(last_ack.into()),
        ..KernelFigures::default()
    }
}

#[test]
fn a_ping_in_a_kernel_queue_that_gets_shorter_has_one_more_write_timeout() {
    let mut bench = Bench::new(|_| {});
    bench.ping(secs(10));
    bench.ping(secs(20));
    assert_eq!(bench.timeout(secs(25)), Verdict::Silent);
    assert!(bench.spare_slow(secs(25), Some(holds(50_000, 2))));
    assert_eq!(bench.timeout(secs(25)), wait(30));
    bench.ping(secs(30));
    assert_eq!(bench.timeout(secs(35)), Verdict::Silent);
    // Once only; then the queue tells what it was.
    assert!(!bench.spare_slow(secs(35), Some(holds(20_000, 2))));
    assert_eq!(bench.judge(Some(holds(20_000, 2))), Cause::WriteStalled);
    let done = KernelFigures {
        unacked: 0,
        ..holds(0, 2)
    };
    assert_eq!(bench.judge(Some(done)), Cause::PeerUnresponsive);
}

#[test]
fn after_a_change_of_policy_a_slow_peer_is_spared_as_before_it() {
    let mut bench = Bench::new(|_| {});
    bench.heartbeat.handle_policy(&bench.timing, secs(9));
    bench.ping(secs(10));
    bench.ping(secs(20));
    bench.ping(secs(30));
    // T counts from the first ping under the new policy.
    assert_eq!(bench.timeout(secs(34)), wait(35));
    assert_eq!(bench.timeout(secs(35)), Verdict::Silent);
    assert!(
        !bench.spare_slow(secs(35), Some(holds(50_000, 26))),
        "an acknowledgement from before it"
    );
    assert!(bench.spare_slow(secs(35), Some(holds(50_000, 24))));
}

#[test]
fn proof_of_life_ends_what_a_slow_peer_was_spared() {
    let mut bench = Bench::new(|_| {});
    bench.ping(secs(10));
    bench.ping(secs(20));
    assert!(bench.spare_slow(secs(25), Some(holds(50_000, 2))));
    bench.bytes(secs(26));
    bench.ping(secs(30));
    bench.ping(secs(40));
    bench.ping(secs(50));
    assert_eq!(bench.timeout(secs(51)), Verdict::Silent);
}

#[test]
fn a_kernel_queue_without_our_ping_or_without_movement_spares_nobody() {
    let spared = |kernel: KernelFigures, behind: usize| {
        let mut bench = Bench::new(|_| {});
        bench.ping(secs(10));
        bench.heartbeat.handle_written(secs(12), behind);
        bench.spare_slow(secs(25), Some(kernel))
    };
    assert!(spared(holds(1_001, 14), 1_000));
    // What it holds was written after the ping: the ping itself was acknowledged.
    assert!(!spared(holds(1_000, 14), 1_000));
    // The last acknowledgement came before the ping was written.
    assert!(!spared(holds(50_000, 15), 0));
    let shut = KernelFigures {
        window: 0,
        ..holds(50_000, 1)
    };
    assert!(!spared(shut, 0));
    let lost = KernelFigures {
        retransmits: 1,
        ..holds(50_000, 1)
    };
    assert!(!spared(lost, 0));
}

#[test]
fn bytes_that_the_kernel_cannot_send_are_a_write_that_stalled() {
    let mut bench = Bench::new(|_| {});
    bench.ping(secs(10));
    let shut = KernelFigures {
        unsent: 6,
        queued: 6,
        retransmits: 5,
        ..KernelFigures::default()
    };
    assert_eq!(bench.judge(Some(shut)), Cause::WriteStalled);
    let in_flight = KernelFigures {
        unacked: 1,
        window: 100,
        ..shut
    };
    assert_eq!(bench.judge(Some(in_flight)), Cause::PathDead);
}

#[test]
fn a_window_with_room_for_less_than_a_segment_is_as_good_as_closed() {
    let mut bench = Bench::new(|_| {});
    bench.ping(secs(10));
    let judge = |unsent, window| {
        bench.judge(Some(KernelFigures {
            unsent,
            window,
            mss: 1_000,
            retransmits: 2,
            ..KernelFigures::default()
        }))
    };
    assert_eq!(judge(5_000, 999), Cause::WriteStalled);
    assert_eq!(judge(6, 5), Cause::WriteStalled);
    // There is room, and still nothing leaves us.
    assert_eq!(judge(5_000, 1_000), Cause::PathDead);
    assert_eq!(judge(6, 6), Cause::PathDead);
}

#[test]
fn bytes_that_wait_for_no_known_reason_blame_neither_path_nor_process() {
    let mut bench = Bench::new(|_| {});
    bench.ping(secs(10));
    let paced = KernelFigures {
        unsent: 6,
        window: 100,
        ..KernelFigures::default()
    };
    assert_eq!(bench.judge(Some(paced)), Cause::PongTimeout);
}

#[test]
fn the_wheels_rounding_does_not_move_the_deadline() {
    let mut bench = Bench::new(|config| config.timeout = Some(Duration::from_millis(10_500)));
    bench.bytes(ms(10));
    // Due within the interval after the proof, written by the tick's rounding just beyond it.
    bench.ping(ms(10_019));
    assert_eq!(
        bench.timeout(ms(10_509)),
        Verdict::Wait(Micros::from_millis(10_510))
    );
    assert_eq!(bench.timeout(ms(10_510)), Verdict::Silent);
}

#[test]
fn the_slack_does_not_move_the_deadline() {
    let mut bench = Bench::with_phase(PingPhase::ZERO, Micros::ZERO, |config| {
        config.interval = Some(Duration::from_millis(1_030));
        config.timeout = Some(Duration::from_millis(1_300));
        config.ping_slack = Some(Duration::from_millis(50));
    });
    // The grid 1030, 2060, 3090 is pinged at 1000, 2100, 3100.
    bench.ping(ms(1_000));
    bench.bytes(ms(1_000));
    bench.ping(ms(2_100));
    assert_eq!(
        bench.timeout(ms(2_299)),
        Verdict::Wait(Micros::from_millis(2_300))
    );
    assert_eq!(bench.timeout(ms(2_300)), Verdict::Silent);
}

#[test]
fn pings_after_the_first_do_not_postpone_the_deadline() {
    let mut bench = Bench::new(|config| config.timeout = Some(Duration::from_secs(31)));
    for at in [10, 20, 30] {
        bench.ping(secs(at));
    }
    assert_eq!(bench.timeout(secs(31)), Verdict::Silent);
}

// Forgiveness.

#[test]
fn silence_is_judged_later_by_the_longest_lateness_since_the_proof() {
    let mut bench = Bench::new(|_| {});
    bench.bytes(secs(5));
    bench.ping(secs(10));
    bench.late(11_000, 15_000);
    bench.late(16_000, 17_500);
    bench.ping(secs(20));
    // 30 becomes 34, and not 35.5.
    assert_eq!(bench.timeout(secs(30)), Verdict::Ping);
    assert_eq!(bench.timeout(secs(33)), wait(34));
    assert_eq!(bench.timeout(secs(34)), Verdict::Silent);
    assert_eq!(bench.forgiveness(secs(34)), Micros::from_secs(4));
}

#[test]
fn silence_is_judged_later_by_what_is_left_after_an_interval_of_answers_at_most() {
    // T - I: 15 s.
    let mut bench = Bench::new(|config| config.proof = Proof::Message);
    bench.ping(secs(10));
    bench.late(10_000, 30_000);
    assert_eq!(bench.timeout(secs(39)), Verdict::Ping);
    assert_eq!(bench.timeout(secs(39)), wait(40));
    // At 25 s it was late until 30 s.
    bench.ping(secs(40));
    assert_eq!(bench.timeout(ms(44_999)), wait(45));
    assert_eq!(bench.timeout(secs(45)), Verdict::Silent);
    assert_eq!(bench.forgiveness(secs(45)), Micros::from_secs(20));
}

#[test]
fn without_an_interval_silence_is_judged_later_by_the_timeout_at_most() {
    let mut bench = Bench::new(|config| config.interval = None);
    bench.late(1_000, 60_000);
    assert_eq!(bench.timeout(secs(60)), wait(85));
    assert_eq!(bench.timeout(secs(85)), Verdict::Silent);
}

#[test]
fn proof_and_ping_are_each_put_off_for_the_lateness_since_their_own_time() {
    let mut bench = Bench::new(|_| {});
    bench.bytes(secs(1));
    // 4 s after the proof, and before the ping that asks.
    bench.late(2_000, 6_000);
    assert_eq!(bench.timeout(secs(10)), Verdict::Ping);
    bench.written(secs(13));
    // 1 s after both: the proof's deadline goes from 26 to 30, the ping's from 28 to 29.
    bench.late(14_000, 15_000);
    bench.ping(secs(20));
    assert_eq!(bench.timeout(ms(29_999)), wait(30));
    assert_eq!(bench.timeout(secs(30)), Verdict::Silent);

    // The same with 6 s since the ping: 28 becomes 34, and 26 becomes 32.
    let mut bench = Bench::new(|_| {});
    bench.bytes(secs(1));
    assert_eq!(bench.timeout(secs(10)), Verdict::Ping);
    bench.written(secs(13));
    bench.late(14_000, 20_000);
    bench.ping(secs(20));
    bench.ping(secs(30));
    assert_eq!(bench.timeout(ms(33_999)), wait(34));
    assert_eq!(bench.timeout(secs(34)), Verdict::Silent);
}

#[test]
fn a_ping_that_our_lateness_made_late_is_forgiven_once() {
    let mut bench = Bench::new(|_| {});
    // Due at 10 s.
    bench.late(10_000, 10_500);
    bench.ping(ms(10_500));
    bench.ping(secs(20));
    bench.late(24_800, 25_200);
    // The proof's deadline goes from 25 to 25.7; the ping's is at 25.5, and would be at 25.9.
    assert_eq!(bench.timeout(ms(25_699)), Verdict::Wait(ms(25_700).at));
    assert_eq!(bench.timeout(ms(25_700)), Verdict::Silent);
    assert_eq!(bench.forgiveness(ms(25_700)), Micros::from_millis(700));
}

#[test]
fn a_stop_after_a_ping_that_our_lateness_delayed_is_forgiven() {
    let mut bench = Bench::new(|_| {});
    bench.late(10_010, 10_500);
    bench.ping(ms(10_500));
    bench.ping(secs(20));
    assert!(matches!(bench.timeout(ms(25_200)), Verdict::Wait(_)));
    bench.late(25_210, 85_200);
    // Both deadlines fall into the stop: its end, and T - I.
    assert_ne!(bench.timeout(ms(85_200)), Verdict::Silent);
    bench.ping(ms(99_999));
    bench.ping(secs(100));
    assert_eq!(bench.timeout(ms(100_199)), Verdict::Wait(ms(100_200).at));
    assert_eq!(bench.timeout(ms(100_200)), Verdict::Silent);
}

/// A loop whose caller works for 300 ms between two waits is busy, and not stopped again and again.
#[test]
fn a_loop_that_is_often_late_skips_no_ping() {
    let mut bench = Bench::new(|_| {});
    bench.ping(secs(10));
    bench.pong(ms(10_050), 1);
    let (mut now, mut asked) = (Micros::from_millis(10_060), None);
    loop {
        bench.lateness.end_turn(now, now);
        now = now + Micros::from_millis(300);
        let moment = bench.lateness.begin_turn(now);
        match bench.timeout(moment) {
            Verdict::Ping => {
                bench.written(moment);
                asked.get_or_insert(now);
            }
            Verdict::Wait(_) => {}
            Verdict::Silent => break,
        }
    }
    assert!(asked.is_some_and(|asked| asked <= Micros::from_millis(20_300)));
    // T, a tick, and three of the longest turns.
    assert!(now <= Micros::from_millis(35_050 + 10 + 900), "{now:?}");
}

#[test]
fn what_made_a_ping_late_is_not_guessed_when_it_is_forgotten() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(bench.timeout(secs(10)), Verdict::Ping);
    // The kernel did not take it. The loop was on time.
    bench.written(secs(12));
    // More intervals than are remembered.
    for turn in 0..2_100 {
        bench.late(13_000 + turn * 5, 13_001 + turn * 5);
    }
    bench.ping(secs(24));
    bench.late(24_800, 25_200);
    assert_eq!(bench.timeout(ms(27_399)), Verdict::Wait(ms(27_400).at));
    assert_eq!(bench.timeout(ms(27_400)), Verdict::Silent);
}

#[test]
fn a_ping_has_what_is_left_of_the_timeout_to_be_answered_whatever_made_it_late() {
    for late in [40, 400, 4_000, 14_000] {
        let mut bench = Bench::new(|_| {});
        for turn in 0..late / 40 {
            bench.late(10_000 + turn * 40 + 10, 10_000 + turn * 40 + 40);
        }
        bench.ping(ms(10_000 + late));
        let written = bench.heartbeat.pings().1;
        let mut now = 10_000 + late;
        while bench.timeout(ms(now)) != Verdict::Silent {
            now += 1;
        }
        assert_eq!(written, 1, "one asks");
        assert!(now >= 25_000 + late - 20, "{late}: {now}");
        assert!(now <= 25_000 + late + 40, "{late}: {now}");
    }
}

#[test]
fn a_deadline_of_silence_within_a_stop_counts_from_its_end() {
    let mut bench = Bench::new(|_| {});
    bench.ping(secs(10));
    bench.ping(secs(20));
    bench.late(21_000, 27_000);
    let now = bench.resumed(27_000);
    assert_eq!(bench.timeout(now), wait(30));
    bench.ping(secs(30));
    assert_eq!(bench.timeout(secs(32)), wait(33));
    assert_eq!(bench.timeout(secs(33)), Verdict::Silent);
    assert_eq!(bench.forgiveness(secs(33)), Micros::from_secs(6));
}

#[test]
fn a_busy_loop_forgives_the_same_however_long_it_is_busy() {
    let mut bench = Bench::new(|_| {});
    for turn in 0..600 {
        bench.late(turn * 50 + 10, turn * 50 + 50);
    }
    bench.ping(secs(10));
    bench.ping(secs(20));
    // It falls to the beginning of a turn, which is not late yet.
    assert_eq!(
        bench.timeout(secs(25)),
        Verdict::Wait(Micros::from_millis(25_040))
    );
    assert_eq!(bench.timeout(ms(25_040)), Verdict::Silent);
    assert_eq!(bench.forgiveness(ms(25_040)), Micros::from_millis(40));
}

#[test]
fn a_verdict_never_seems_early() {
    // Just past a whole millisecond.
    let mut bench = Bench::new(|_| {});
    bench.bytes(us(5_000_300));
    bench.ping(us(10_000_300));
    bench.ping(us(20_000_300));
    let verdict = us(30_001_000);
    assert_eq!(bench.timeout(us(30_000_999)), Verdict::Ping);
    bench.written(us(30_000_999));
    assert_eq!(bench.timeout(verdict), Verdict::Silent);
    assert!(bench.heartbeat.last_proof(verdict) >= Micros::from_secs(25));
    assert_eq!(bench.forgiveness(verdict), Micros::ZERO);
}

#[test]
fn lateness_before_the_proof_forgives_nothing() {
    let mut bench = Bench::new(|_| {});
    bench.late(1_000, 4_000);
    bench.bytes(secs(5));
    bench.ping(secs(10));
    bench.ping(secs(20));
    assert_eq!(bench.timeout(secs(30)), Verdict::Silent);
    assert_eq!(bench.forgiveness(secs(30)), Micros::ZERO);
}

#[test]
fn a_written_ping_is_forgiven_as_well() {
    let mut bench = Bench::new(|config| config.timeout = Some(Duration::from_secs(15)));
    assert_eq!(bench.timeout(secs(10)), Verdict::Ping);
    bench.written(secs(13));
    bench.late(13_500, 15_500);
    assert_eq!(bench.timeout(secs(18)), wait(20));
}

#[test]
fn reading_that_went_on_is_forgiven_since_then() {
    let mut bench = Bench::new(|config| config.proof = Proof::Message);
    bench.ping(secs(10));
    bench.heartbeat.handle_pause();
    bench.late(11_000, 14_000);
    bench.heartbeat.handle_resume(secs(18));
    bench.ping(secs(20));
    bench.late(20_000, 21_000);
    bench.ping(secs(30));
    // 33 becomes 34; proof and ping are over at 28.
    assert_eq!(bench.timeout(ms(33_999)), wait(34));
    assert_eq!(bench.timeout(secs(34)), Verdict::Silent);
}

#[test]
fn the_grid_is_not_forgiven() {
    let mut bench = Bench::new(|_| {});
    bench.late(1_000, 5_000);
    assert_eq!(bench.timeout(secs(9)), wait(10));
    bench.ping(secs(10));
}

// Reading paused.

#[test]
fn f49_while_paused_waiting_bytes_are_proof_by_bytes() {
    let mut bench = Bench::new(|_| {});
    bench.heartbeat.handle_pause();
    bench.ping(secs(10));
    bench.ping(secs(20));
    assert_eq!(bench.timeout(secs(25)), Verdict::Silent);
    bench.bytes(secs(25));
    assert_eq!(bench.timeout(secs(25)), wait(30));
}

#[test]
fn while_paused_a_peer_without_waiting_bytes_is_silent() {
    let mut bench = Bench::new(|_| {});
    bench.heartbeat.handle_pause();
    bench.ping(secs(10));
    bench.ping(secs(20));
    assert_eq!(bench.timeout(secs(25)), Verdict::Silent);
}

#[test]
fn while_paused_no_verdict_falls_on_a_proof_that_must_be_read() {
    for proof in [Proof::Message, Proof::Pong] {
        let mut bench = Bench::new(|config| config.proof = proof);
        bench.heartbeat.handle_pause();
        for at in 1..10 {
            bench.ping(secs(at * 10));
        }
        assert_eq!(bench.timeout(secs(95)), wait(100));
    }
}

#[test]
fn after_a_pause_other_proofs_have_timeout_less_interval_to_come() {
    let mut bench = Bench::new(|config| config.proof = Proof::Pong);
    bench.heartbeat.handle_pause();
    for at in 1..5 {
        bench.ping(secs(at * 10));
    }
    bench.heartbeat.handle_resume(secs(42));
    bench.ping(secs(50));
    assert_eq!(bench.timeout(secs(50)), wait(57));
    assert_eq!(bench.timeout(secs(57)), Verdict::Silent);
}

#[test]
fn a_peer_that_is_paused_again_and_again_still_dies_by_bytes() {
    let mut bench = Bench::new(|_| {});
    for at in 1..25 {
        bench.heartbeat.handle_pause();
        bench.heartbeat.handle_resume(secs(at));
        if at % 10 == 0 {
            bench.ping(secs(at));
        }
    }
    assert_eq!(bench.timeout(secs(25)), Verdict::Silent);
}

#[test]
fn a_short_pause_does_not_stand_in_for_a_written_ping() {
    let mut bench = Bench::new(|config| {
        config.proof = Proof::Message;
        config.timeout = Some(Duration::from_secs(15));
    });
    bench.heartbeat.handle_pause();
    bench.heartbeat.handle_resume(secs(1));
    assert_eq!(bench.timeout(secs(10)), Verdict::Ping);
    bench.written(secs(14));
    assert_eq!(bench.timeout(secs(15)), wait(19));
}

#[test]
fn resuming_without_a_pause_changes_nothing() {
    let mut bench = Bench::new(|config| config.proof = Proof::Message);
    bench.ping(secs(10));
    bench.ping(secs(20));
    bench.heartbeat.handle_resume(secs(24));
    assert_eq!(bench.timeout(secs(25)), Verdict::Silent);
}

// Another policy.

#[test]
fn f36_the_new_timeout_counts_from_the_first_ping_under_the_new_policy() {
    let mut bench = Bench::new(|_| {});
    bench.ping(secs(10));
    bench.timing = timing(|config| {
        config.interval = Some(Duration::from_secs(2));
        config.timeout = Some(Duration::from_secs(5));
    });
    bench.heartbeat.handle_policy(&bench.timing, secs(13));
    assert_eq!(bench.timeout(secs(13)), wait(14));
    for at in [14, 16, 18] {
        bench.ping(secs(at));
    }
    assert_eq!(bench.timeout(ms(18_999)), wait(19));
    assert_eq!(bench.timeout(secs(19)), Verdict::Silent);
    assert_eq!(bench.heartbeat.last_proof(secs(19)), Micros::from_secs(19));
}

#[test]
fn f36_the_new_timeout_counts_from_the_last_proof_if_that_is_later() {
    let mut bench = Bench::new(|_| {});
    bench.timing = timing(|config| {
        config.interval = Some(Duration::from_secs(2));
        config.timeout = Some(Duration::from_secs(5));
    });
    bench.heartbeat.handle_policy(&bench.timing, secs(3));
    bench.ping(secs(4));
    bench.bytes(ms(4_500));
    bench.ping(secs(6));
    bench.ping(secs(8));
    assert_eq!(
        bench.timeout(secs(9)),
        Verdict::Wait(Micros::from_millis(9_500))
    );
    assert_eq!(bench.timeout(ms(9_500)), Verdict::Silent);
}

#[test]
fn f36_without_pings_the_new_timeout_counts_from_the_change() {
    let mut bench = Bench::new(|_| {});
    bench.timing = timing(|config| {
        config.interval = None;
        config.timeout = Some(Duration::from_secs(5));
    });
    bench.heartbeat.handle_policy(&bench.timing, secs(9));
    assert_eq!(bench.timeout(secs(9)), wait(14));
    assert_eq!(bench.timeout(secs(14)), Verdict::Silent);
}

#[test]
fn without_pings_a_queue_that_gets_shorter_spares_nobody() {
    let mut bench = Bench::new(|_| {});
    bench.timing = timing(|config| config.interval = None);
    bench.heartbeat.handle_policy(&bench.timing, secs(1));
    assert_eq!(bench.timeout(secs(26)), Verdict::Silent);
    assert!(!bench.spare_slow(secs(26), Some(holds(50_000, 2))));
}

// Round trips.

#[test]
fn round_trips_are_last_least_and_smoothed_by_an_eighth() {
    let mut bench = Bench::new(|_| {});
    for (number, rtt) in [(1u32, 8_000u64), (2, 4_000), (3, 12_000)] {
        let sent = u64::from(number) * 10_000_000;
        bench.ping(us(sent));
        let answer = bench.pong(us(sent + rtt), number);
        assert_eq!(
            answer,
            PongMatch::Answer {
                rtt: Some(Micros::new(rtt))
            }
        );
    }
    // 8000; (7 * 8000 + 4000) / 8 = 7500; (7 * 7500 + 12000) / 8 = 8062.
    let rtt = Rtt {
        last: Duration::from_micros(12_000),
        min: Duration::from_micros(4_000),
        smoothed: Duration::from_micros(8_062),
    };
    assert_eq!(bench.heartbeat.rtt(), Some(rtt));
}

// The cause, in the order of the table.

#[test]
fn a_ping_still_in_our_output_is_write_stalled_unless_the_path_is_dead() {
    let bench = Bench::new(|_| {});
    let judge = |kernel| bench.heartbeat.judge(&bench.timing, true, true, kernel);
    for kernel in [None, figures(3, 3, 0), figures(0, 0, 9), figures(3, 0, 9)] {
        assert_eq!(judge(kernel), Cause::WriteStalled);
    }
    assert_eq!(judge(figures(3, 3, 9)), Cause::PathDead);
}

#[test]
fn a_zero_window_with_bytes_queued_is_write_stalled() {
    let bench = Bench::new(|_| {});
    let judge = |queued, kernel| bench.heartbeat.judge(&bench.timing, false, queued, kernel);
    assert_eq!(judge(true, figures(1, 4, 0)), Cause::WriteStalled);
    assert_eq!(judge(true, figures(1, 4, 1)), Cause::PathDead);
}

#[test]
fn unacknowledged_and_retransmitting_is_path_dead() {
    let mut bench = Bench::new(|config| config.proof = Proof::Pong);
    bench.ping(secs(10));
    bench.bytes(secs(11));
    assert_eq!(bench.judge(figures(1, 1, 100)), Cause::PathDead);
    assert_eq!(bench.judge(figures(1, 0, 100)), Cause::PongTimeout);
}

#[test]
fn bytes_after_the_ping_but_not_the_proof_are_pong_timeout() {
    let mut bench = Bench::new(|config| config.proof = Proof::Pong);
    bench.bytes(secs(10));
    bench.ping(secs(10));
    assert_eq!(bench.judge(figures(0, 0, 100)), Cause::PeerUnresponsive);
    bench.bytes(ms(10_001));
    assert_eq!(bench.judge(figures(0, 0, 100)), Cause::PongTimeout);
}

#[test]
fn our_lateness_does_not_hide_bytes_read_after_the_ping() {
    let mut bench = Bench::new(|config| config.proof = Proof::Pong);
    bench.ping(secs(10));
    bench.bytes(secs(11));
    bench.late(12_000, 17_000);
    bench.ping(secs(20));
    assert_eq!(bench.timeout(secs(30)), Verdict::Silent);
    assert_eq!(bench.judge(figures(0, 0, 100)), Cause::PongTimeout);
}

#[test]
fn all_acknowledged_and_silent_is_peer_unresponsive() {
    let mut bench = Bench::new(|_| {});
    bench.bytes(secs(9));
    bench.ping(secs(10));
    assert_eq!(bench.judge(figures(0, 0, 100)), Cause::PeerUnresponsive);
}

#[test]
fn without_kernel_figures_or_with_none_that_fit_it_is_pong_timeout() {
    let mut bench = Bench::new(|_| {});
    bench.ping(secs(10));
    assert_eq!(bench.judge(None), Cause::PongTimeout);
    assert_eq!(bench.judge(figures(2, 0, 100)), Cause::PongTimeout);
}

#[test]
fn without_pings_it_is_silent_whatever_the_kernel_says() {
    let bench = Bench::new(|config| config.interval = None);
    for kernel in [None, figures(0, 0, 9), figures(2, 2, 9)] {
        assert_eq!(bench.judge(kernel), Cause::Silent);
    }
}

#[test]
fn a_peer_is_late_when_half_of_its_time_to_answer_is_over() {
    let mut bench = Bench::new(|_| {});
    bench.ping(secs(10));
    assert!(!bench.is_late(ms(17_499)));
    assert!(bench.is_late(ms(17_500)));
    // Further pings change nothing, and a proof all.
    bench.ping(secs(20));
    assert!(bench.is_late(secs(20)));
    bench.pong(secs(21), 1);
    assert!(!bench.is_late(secs(21)));
    bench.ping(secs(30));
    assert!(!bench.is_late(secs(38)), "by the proof it has until 46");
    assert!(bench.is_late(secs(39)));
}

#[test]
fn nobody_is_late_who_was_not_asked() {
    let bench = Bench::new(|_| {});
    assert!(!bench.is_late(secs(24)));
    let silent = Bench::new(|config| (config.interval, config.timeout) = (None, None));
    assert!(!silent.is_late(secs(1_000)));
}

#[test]
fn what_we_are_late_makes_nobody_late() {
    let mut bench = Bench::new(|_| {});
    bench.ping(secs(10));
    bench.late(12_000, 16_000);
    assert!(!bench.is_late(ms(21_499)));
    assert!(bench.is_late(ms(21_500)));
}

#[test]
fn nobody_is_late_whom_we_do_not_read() {
    let mut bench = Bench::new(|config| config.proof = Proof::Pong);
    bench.ping(secs(10));
    bench.heartbeat.handle_pause();
    assert!(!bench.is_late(secs(60)));
    bench.heartbeat.handle_resume(secs(60));
    assert!(!bench.is_late(ms(67_499)));
    assert!(bench.is_late(ms(67_500)));
}

#[test]
fn without_pings_or_without_a_timeout_another_measure_says_who_is_late() {
    let theirs = Bench::new(|config| config.interval = None);
    assert!(!theirs.is_late(ms(18_749)));
    assert!(theirs.is_late(ms(18_750)));
    let mut endless = Bench::new(|config| config.timeout = None);
    endless.ping(secs(10));
    assert!(!endless.is_late(ms(19_999)));
    assert!(endless.is_late(secs(20)));
    endless.bytes(secs(20));
    assert!(!endless.is_late(secs(20)));
}

#[test]
fn a_heartbeat_takes_68_bytes() {
    let Bench { heartbeat, .. } = Bench::new(|_| {});
    let fields = sizes!(&heartbeat => Heartbeat {
        timed_at,
        proof,
        asked_at,
        resumed_at,
        next_ping,
        last_in,
        last_out,
        phase,
        pings_due,
        pings_written,
        pings_answered,
        timed,
        rtt,
        behind,
        ask,
        facts,
    });
    let sum: usize = fields.iter().map(|(_, size)| size).sum();
    assert_eq!((sum, size_of::<Heartbeat>()), (68, 68), "{fields:?}");
}

#[test]
fn a_phase_tells_how_many_steps_it_is_from_the_start() {
    let start = PingPhase::new(0xDEAD_BEEF);
    let mut phase = start;
    for steps in 0..10_000 {
        assert_eq!(phase.steps_from(start), steps);
        phase = phase.next();
    }
}
