//! What the timer is told: a deadline that comes nearer, and time that nothing but its visits measures.

use super::*;

/// A ping by hand, after the timeout and before the grid's next one, began a silence that the timer
/// was not told of: the verdict came as late as that next ping.
#[test]
fn a_ping_by_hand_moves_the_timer_to_its_own_deadline() {
    let (mut env, policy) = surroundings(&Wire::Line, |heartbeat, _| {
        heartbeat.interval = Some(Duration::from_millis(100));
        heartbeat.timeout = Some(Duration::from_millis(101));
        heartbeat.ping_slack = Some(Duration::from_millis(20));
    });
    // Pings are due at 62, 162 and 262, which the slack makes 80, 160 and 280.
    let phase = PingPhase::new((0.62 * f64::from(u32::MAX)) as u32);
    let session = Session::accepted(&mut env, policy, Wire::Line, phase, ms(0));
    let mut bench = Bench { env, session };
    for due in [80, 160] {
        assert_eq!(bench.due(ms(due)), Due::Changed);
        bench.flush(ms(due));
        bench.session.handle_bytes(&mut bench.env, ms(due + 1), 1);
    }
    bench.session.take_rearm();
    assert_eq!(bench.deadline(ms(265)), ms(280).at);
    bench.session.ping(&mut bench.env, ms(265));
    bench.flush(ms(265));
    // The timeout is over, and a millisecond is all that a peer has to answer in.
    assert_eq!(bench.deadline(ms(265)), ms(266).at);
    assert!(bench.session.take_rearm(), "the timer is not told");
}

/// A session that nothing but its rare visits disturbs lost count of time after 25 days, since a visit
/// that a timer makes is late: the peer's first ping then was a flood.
#[test]
fn a_first_ping_after_weeks_of_silence_is_no_flood() {
    let mut bench = Bench::with(Wire::Line, |heartbeat, _| {
        (heartbeat.interval, heartbeat.timeout) = (None, None);
    });
    let mut now = ms(0);
    for _ in 0..100 {
        now.at = bench.deadline(now) + Micros::from_millis(10);
        bench.due(now);
    }
    bench
        .session
        .decode(&mut bench.env, now, &mut b"PING\n".to_vec());
    assert_eq!(bench.session.cause(), None);
    let silence = bench.evidence(now).last_proof.unwrap();
    assert!(
        silence > Duration::from_secs(12 * 24 * 60 * 60),
        "{silence:?}"
    );
}

/// A ping that was slow to leave puts the verdict off. Once it had left, the timer was not told that the
/// verdict was near again: with less than two intervals it came as late as the next ping.
#[test]
fn a_ping_that_leaves_at_last_moves_the_timer_back() {
    let mut bench = Bench::with(Wire::Line, |heartbeat, _| {
        heartbeat.interval = Some(Duration::from_millis(200));
        heartbeat.timeout = Some(Duration::from_millis(250));
    });
    assert_eq!(bench.due(ms(200)), Due::Changed);
    assert_eq!(bench.flush_some(ms(210), 1).len(), 1);
    bench.session.handle_blocked();
    assert_eq!(bench.deadline(ms(210)), ms(250).at);
    assert_eq!(bench.due(ms(250)), Due::Silent);
    assert!(bench.session.spare_slow(&bench.env, ms(250), None));
    bench.session.take_rearm();
    assert_eq!(bench.deadline(ms(250)), ms(400).at);
    bench.flush(ms(260));
    assert_eq!(bench.deadline(ms(260)), ms(310).at);
    assert!(bench.session.take_rearm(), "the timer is not told");
}

impl Bench {
    pub(super) fn deadline(&self, now: Moment) -> Micros {
        self.session.poll_deadline(&self.env, now)
    }
}
