//! Rows of the list of failure scenarios, each in a small world of its own. The model watches these as
//! it watches every other; what a row adds is said here.

use std::time::Duration;

use heartwheel::close::Cause;
use heartwheel::config::{HeartbeatConfig, LimitsConfig};
use heartwheel::proto::backoff::BackoffPolicy;
use heartwheel::proto::time::Micros;

use crate::model::{Record, Speech};
use crate::process::{Manner, Program, Target, Terms};
use crate::script::{HostPlan, Script};
use crate::world::path::{Direction, Path};
use crate::world::tcp::Sizes;
use crate::world::{Act, Command, Hardship, Pace, Sim};

const TICK: Micros = Micros::from_millis(10);
const INTERVAL: Micros = Micros::from_secs(10);
const TIMEOUT: Micros = Micros::from_secs(25);
const WRITE: Micros = Micros::from_secs(10);
/// Both stamps of a span are in whole milliseconds.
const ROUNDING: Micros = Micros::from_millis(2);

const SERVER: usize = 0;
const CLIENT: usize = 1;

/// Wires that carry pings.
const SPEECHES: [Speech; 4] = [Speech::WebSocket, Speech::Line, Speech::Binary, Speech::Own];

/// Pings every 10 s, and 25 s of silence.
fn beats() -> HeartbeatConfig {
    HeartbeatConfig {
        interval: Some(INTERVAL.into()),
        timeout: Some(TIMEOUT.into()),
        ping_slack: Some(Duration::ZERO),
        write_timeout: Some(WRITE.into()),
        ..HeartbeatConfig::tcp()
    }
}

/// Answers, and never judges.
fn answers() -> HeartbeatConfig {
    HeartbeatConfig {
        interval: None,
        timeout: None,
        write_timeout: None,
        ..HeartbeatConfig::tcp()
    }
}

/// A world of one server and some clients that does nothing by itself.
fn script(
    speech: Speech,
    server: HeartbeatConfig,
    client: HeartbeatConfig,
    count: usize,
) -> Script {
    let terms = |heartbeat: &HeartbeatConfig| Terms {
        speech,
        heartbeat: heartbeat.clone(),
        limits: LimitsConfig::default(),
    };
    let direction = Direction {
        delay: Micros::from_millis(5),
        ..Direction::default()
    };
    let mut hosts = vec![host(vec![terms(&server)], Vec::new())];
    for path in 0..count {
        let target = Target {
            host: SERVER,
            port: 0,
            path,
            terms: terms(&client),
            backoff: BackoffPolicy::default(),
        };
        hosts.push(host(Vec::new(), vec![target]));
    }
    let path = Path {
        to: [direction.clone(), direction],
    };
    Script {
        seed: 1,
        hosts,
        paths: vec![path; count],
        sizes: Sizes {
            send: 64 * 1_024,
            receive: 64 * 1_024,
            segment: 1_448,
        },
        acts: Vec::new(),
        curtain: Micros::MAX,
    }
}

fn host(ports: Vec<Terms>, targets: Vec<Target>) -> HostPlan {
    HostPlan {
        start: Micros::ZERO,
        pace: Pace {
            wake: Micros::ZERO,
            breath_odds: 0,
            breath: Micros::ZERO,
            busy: None,
        },
        has_figures: true,
        program: Program {
            tick: TICK,
            ports,
            targets,
            manner: Manner::CALM,
            events: 1_024,
            expiries: 4_096,
            read: 256 * 1_024,
            memory: None,
            is_short: true,
        },
    }
}

fn cut(sim: &mut Sim, path: usize) {
    for to in [0, 1] {
        sim.act(Act::Path {
            path,
            to,
            is_down: true,
        });
    }
}

fn ends_of(sim: &Sim, host: usize) -> Vec<Record> {
    let world = sim.world();
    let records = world.book.records.iter();
    records
        .filter(|record| record.host == host)
        .cloned()
        .collect()
}

fn only_end_of(sim: &Sim, host: usize) -> Record {
    let ends = ends_of(sim, host);
    assert_eq!(ends.len(), 1, "{ends:?}");
    ends[0].clone()
}

/// Asserts that a verdict fell in [T, T + tick] after the last byte that was read.
fn assert_at_timeout(record: &Record) {
    let since = record.when.at - record.last_read.expect("it has spoken");
    assert!(since >= TIMEOUT, "after {since:?}");
    assert!(since <= TIMEOUT + TICK + ROUNDING, "after {since:?}");
}

#[test]
fn f1_a_peer_that_vanishes_is_closed_a_timeout_after_its_last_byte() {
    for speech in SPEECHES {
        for (has_figures, cause) in [(true, Cause::PathDead), (false, Cause::PongTimeout)] {
            let mut script = script(speech, beats(), answers(), 1);
            script.hosts[SERVER].has_figures = has_figures;
            let mut sim = script.begin(false);
            sim.run_to(Micros::from_millis(33_333));
            cut(&mut sim, 0);
            sim.run_to(Micros::from_secs(200));
            let end = only_end_of(&sim, SERVER);
            assert_eq!(end.evidence.cause, cause, "{speech:?}");
            assert_at_timeout(&end);
        }
    }
}

#[test]
fn f2_a_peer_that_vanishes_from_under_our_data_is_a_dead_path() {
    let mut sim = script(Speech::Binary, beats(), answers(), 1).begin(false);
    sim.run_to(Micros::from_millis(33_333));
    cut(&mut sim, 0);
    sim.act(Act::Command(
        SERVER,
        Command::Send {
            which: 0,
            size: 20_000,
        },
    ));
    sim.run_to(Micros::from_secs(200));
    let end = only_end_of(&sim, SERVER);
    assert_eq!(end.evidence.cause, Cause::PathDead);
    assert_at_timeout(&end);
}

#[test]
fn f2_output_that_moved_before_the_path_died_makes_the_verdict_no_later() {
    for speech in SPEECHES {
        let server = HeartbeatConfig {
            write_timeout: Some(Duration::from_secs(60)),
            ..beats()
        };
        let mut script = script(speech, server, answers(), 1);
        script.sizes.send = 4_096;
        let mut sim = script.begin(false);
        sim.run_to(Micros::from_millis(27_500));
        let rate = Some(20_000);
        sim.act(Act::Narrow { path: 0, rate });
        // The next ping waits behind it, and a part of it leaves meanwhile.
        let (which, size) = (0, 60_000);
        sim.act(Act::Command(SERVER, Command::Send { which, size }));
        sim.run_to(Micros::from_millis(28_500));
        cut(&mut sim, 0);
        sim.run_to(Micros::from_secs(200));
        let end = only_end_of(&sim, SERVER);
        assert_eq!(end.evidence.cause, Cause::PathDead, "{speech:?}");
        assert!(
            end.evidence.pings_due > end.evidence.pings_written,
            "it waits"
        );
        assert_at_timeout(&end);
    }
}

#[test]
fn f3_a_process_that_is_stopped_is_told_apart_from_a_dead_path() {
    for speech in SPEECHES {
        let mut sim = script(speech, beats(), answers(), 1).begin(false);
        sim.run_to(Micros::from_millis(33_333));
        sim.act(Act::Stop(CLIENT));
        sim.run_to(Micros::from_secs(200));
        let end = only_end_of(&sim, SERVER);
        assert_eq!(end.evidence.cause, Cause::PeerUnresponsive, "{speech:?}");
        assert_at_timeout(&end);
    }
}

#[test]
fn f4_a_peer_that_reads_nothing_is_stalled_output_and_not_a_missing_pong() {
    // Silence is not what ends it.
    let patient = HeartbeatConfig {
        timeout: Some(Duration::from_secs(120)),
        ..beats()
    };
    let mut sim = script(Speech::WebSocket, patient, answers(), 1).begin(false);
    sim.run_to(Micros::from_secs(21));
    sim.act(Act::Command(CLIENT, Command::Pause { which: 0 }));
    let began = sim.world().now;
    sim.act(Act::Command(
        SERVER,
        Command::Send {
            which: 0,
            size: 500_000,
        },
    ));
    sim.run_to(Micros::from_secs(200));
    let end = only_end_of(&sim, SERVER);
    assert_eq!(end.evidence.cause, Cause::WriteStalled);
    // Counted from the last byte that the kernel took. That may be one that it took when it was asked once
    // more, before the verdict: what the peer's kernel had room for, though its process reads nothing.
    let second = Micros::from_secs(1);
    let since: Micros = end.evidence.last_out.expect("it was sent to").into();
    assert!(since >= WRITE && since <= WRITE + second, "{since:?}");
    let since = end.when.at - began;
    assert!(since <= WRITE + WRITE + second, "{since:?}");
}

#[test]
fn f5_a_slow_handler_is_nobody_elses_fault() {
    let heartbeat = HeartbeatConfig {
        interval: Some(Duration::from_secs(1)),
        timeout: Some(Duration::from_millis(2_500)),
        ..beats()
    };
    let mut script = script(Speech::WebSocket, heartbeat, answers(), 4);
    script.hosts[SERVER].program.manner = Manner {
        slow_odds: 1,
        longest: Micros::from_millis(900),
        ..Manner::CALM
    };
    let mut sim = script.begin(false);
    sim.run_to(Micros::from_secs(300));
    assert_eq!(ends_of(&sim, SERVER).len(), 0);
    let late = sim.world().when(SERVER).late;
    assert!(late > Micros::from_secs(100), "late by {late:?} in all");
}

#[test]
fn f51_a_saturated_loop_finds_the_dead_in_time_however_long_it_is_busy() {
    for speech in SPEECHES {
        for minutes in [1, 30] {
            let mut script = script(speech, beats(), answers(), 4);
            for client in &mut script.hosts[CLIENT..] {
                let target = client.program.targets[0].clone();
                client.program.targets = vec![target; 5];
            }
            let busy = (Micros::from_millis(50), Micros::from_millis(150));
            script.hosts[SERVER].pace.busy = Some(busy);
            let mut sim = script.begin(false);
            sim.run_to(Micros::from_secs(minutes * 60));
            cut(&mut sim, 3);
            sim.run_to(Micros::from_secs(minutes * 60 + 120));
            let (ends, longest) = (ends_of(&sim, SERVER), longest_turn(&sim));
            assert!(longest >= Micros::from_millis(140), "{longest:?}");
            assert_eq!(ends.len(), 5, "{speech:?}");
            for end in ends {
                assert_eq!(
                    end.sock.link % 20 / 5,
                    3,
                    "only the dead end: {:?}",
                    end.sock
                );
                let silence: Micros = end.evidence.last_proof.expect("it was open").into();
                let latest = TIMEOUT + TICK + longest.saturating_mul(3) + ROUNDING;
                assert!(silence >= TIMEOUT, "{silence:?}");
                assert!(
                    silence <= latest,
                    "{silence:?} of {latest:?}, {minutes} min"
                );
            }
        }
    }
}

#[test]
fn a_request_that_waits_behind_the_events_of_others_is_in_time() {
    let server = HeartbeatConfig {
        handshake_timeout: Duration::from_secs(2),
        ..beats()
    };
    let mut script = script(Speech::WebSocket, server, answers(), 4);
    script.hosts[SERVER].program.events = 1;
    for client in &mut script.hosts[CLIENT..] {
        let target = client.program.targets[0].clone();
        client.program.targets = vec![target; 5];
    }
    let late = CLIENT + 3;
    let mut sim = script.begin(false);
    // Connected, and stopped before they could ask; the server is stopped while it waits for that.
    sim.run_to(Micros::from_millis(7));
    sim.act(Act::Stop(late));
    sim.run_to(Micros::from_millis(1_980));
    sim.act(Act::Stop(SERVER));
    sim.act(Act::Resume(late));
    for client in CLIENT..late {
        for which in 0..5 {
            let size = 10;
            sim.act(Act::Command(client, Command::Send { which, size }));
        }
    }
    sim.run_to(Micros::from_secs(3));
    sim.act(Act::Resume(SERVER));
    sim.run_to(Micros::from_secs(20));
    let ends = ends_of(&sim, SERVER);
    assert!(ends.is_empty(), "{ends:?}");
    assert_eq!(sim.world().book.held_by(SERVER).count(), 20);
}

/// Returns the longest turn of the server, with what its wait was late.
fn longest_turn(sim: &Sim) -> Micros {
    sim.world().hosts[SERVER].lateness.longest_turn
}

#[test]
fn a_stop_is_forgiven_once_by_a_saturated_loop_too() {
    let mut script = script(Speech::Line, beats(), answers(), 4);
    let busy = (Micros::from_millis(50), Micros::from_millis(60));
    script.hosts[SERVER].pace.busy = Some(busy);
    let mut sim = script.begin(false);
    sim.run_to(Micros::from_secs(60));
    cut(&mut sim, 3);
    sim.run_to(Micros::from_secs(75));
    sim.act(Act::Stop(SERVER));
    sim.run_to(Micros::from_secs(80));
    sim.act(Act::Resume(SERVER));
    sim.run_to(Micros::from_secs(200));
    let end = only_end_of(&sim, SERVER);
    let silence: Micros = end.evidence.last_proof.expect("it was open").into();
    // Where the timeout was over during the stop, it counts from the end of that.
    let (stopped, resumed) = (Micros::from_secs(75), Micros::from_secs(80));
    let over = end.when.at - silence + TIMEOUT;
    let counts_from = if over >= stopped {
        over.max(resumed)
    } else {
        over
    };
    let late = end.when.at - counts_from;
    let (least, most) = (Micros::from_millis(4_900), Micros::from_millis(5_500));
    assert!(late >= least && late <= most, "{late:?}");
}

/// A server held up for three timeouts: whoever answered stays, and the one that is dead goes.
fn assert_held_up(act: Act, undo: Act) {
    let mut sim = script(Speech::Line, beats(), answers(), 4).begin(false);
    sim.run_to(Micros::from_millis(33_333));
    cut(&mut sim, 3);
    sim.act(act);
    let ends = sim.world().now + TIMEOUT.saturating_mul(3);
    sim.run_to(ends);
    sim.act(undo);
    let resumed = sim.world().when(SERVER).at;
    sim.run_to(ends + Micros::from_secs(300));
    let end = only_end_of(&sim, SERVER);
    assert_eq!(end.sock.link, 3);
    assert_eq!(end.evidence.cause, Cause::PathDead);
    let spared = end.when.at - resumed;
    assert!(spared <= TIMEOUT + TICK + ROUNDING, "{spared:?}");
}

#[test]
fn f6_after_a_stop_of_three_timeouts_only_the_dead_are_closed() {
    assert_held_up(Act::Stop(SERVER), Act::Resume(SERVER));
}

#[test]
fn f7_a_server_whose_machine_slept_closes_only_the_dead() {
    assert_held_up(Act::Sleep(SERVER), Act::WakeUp(SERVER));
}

#[test]
fn f7_a_client_whose_machine_slept_probes_at_once_and_is_back_within_half_a_second() {
    let mut sim = script(Speech::WebSocket, beats(), beats(), 1).begin(false);
    sim.run_to(Micros::from_secs(34));
    sim.act(Act::Sleep(CLIENT));
    sim.run_to(Micros::from_secs(634));
    assert_eq!(only_end_of(&sim, SERVER).evidence.cause, Cause::PathDead);
    let woken = sim.world().when(CLIENT).at;
    sim.act(Act::WakeUp(CLIENT));
    sim.run_to(Micros::from_millis(634_700));
    // The server's kernel knows nothing of the connection any more, and says so to the probe.
    let end = only_end_of(&sim, CLIENT);
    assert_eq!(end.evidence.cause, Cause::PeerReset);
    assert!(
        end.when.at - woken <= Micros::from_millis(20),
        "{:?}",
        end.when
    );
    assert_eq!(sim.world().book.held_by(CLIENT).count(), 1, "it is back");
}

#[test]
fn f7_a_client_that_waited_to_dial_does_not_wait_on_after_a_sleep() {
    let mut sim = script(Speech::Line, beats(), beats(), 1).begin(false);
    sim.run_to(Micros::from_secs(5));
    sim.act(Act::Kill(SERVER));
    sim.run_to(Micros::from_secs(600));
    sim.act(Act::Sleep(CLIENT));
    sim.run_to(Micros::from_secs(1_200));
    sim.act(Act::Start(SERVER));
    sim.act(Act::WakeUp(CLIENT));
    sim.run_to(Micros::from_millis(1_200_600));
    assert_eq!(sim.world().book.held_by(CLIENT).count(), 1, "it is back");
}

#[test]
fn f21_a_fin_without_a_close_frame_is_peer_eof_at_once() {
    for speech in SPEECHES {
        let mut sim = script(speech, beats(), answers(), 1).begin(false);
        sim.run_to(Micros::from_secs(34));
        sim.act(Act::Kill(CLIENT));
        sim.run_to(Micros::from_millis(34_020));
        assert_eq!(only_end_of(&sim, SERVER).evidence.cause, Cause::PeerEof);
    }
}

#[test]
fn f22_data_and_a_reset_in_one_batch_are_the_data_and_then_the_reset() {
    for speech in SPEECHES {
        let mut sim = script(speech, beats(), answers(), 1).begin(false);
        sim.run_to(Micros::from_secs(21));
        // What the killed process has not read makes its kernel send a reset.
        sim.act(Act::Command(CLIENT, Command::Pause { which: 0 }));
        sim.act(Act::Command(SERVER, Command::Send { which: 0, size: 10 }));
        sim.run_to(Micros::from_secs(22));
        sim.act(Act::Stop(SERVER));
        sim.act(Act::Command(
            CLIENT,
            Command::Send {
                which: 0,
                size: 100,
            },
        ));
        sim.run_to(Micros::from_secs(23));
        sim.act(Act::Kill(CLIENT));
        sim.run_to(Micros::from_secs(24));
        sim.act(Act::Resume(SERVER));
        sim.run_to(Micros::from_millis(24_010));
        let end = only_end_of(&sim, SERVER);
        assert_eq!(end.evidence.cause, Cause::PeerReset, "{speech:?}");
        assert_eq!(end.delivered, 1);
    }
}

/// Lets the kernels of four killed clients reset their connections while the server is stopped, whose
/// application then closes them. The clients dial again meanwhile.
fn lose_four(sim: &mut Sim) {
    sim.run_to(Micros::from_secs(21));
    for client in 1..=4 {
        // What is left unread makes it a reset.
        sim.act(Act::Command(client, Command::Pause { which: 0 }));
        let (which, size) = (client as u64, 10);
        sim.act(Act::Command(SERVER, Command::Send { which, size }));
    }
    sim.run_to(Micros::from_secs(22));
    sim.act(Act::Stop(SERVER));
    for client in 1..=4 {
        sim.act(Act::Kill(client));
        sim.act(Act::Start(client));
    }
    sim.run_to(Micros::from_secs(23));
    for which in 0..4 {
        let cause = Cause::LocalClose;
        sim.act(Act::Command(SERVER, Command::Close { which, cause }));
    }
    sim.act(Act::Resume(SERVER));
}

#[test]
fn f23_an_event_for_a_connection_that_is_gone_touches_nobody() {
    let mut script = script(Speech::WebSocket, beats(), answers(), 4);
    script.hosts[SERVER].program.events = 1;
    let mut sim = script.begin(false);
    // The server takes the first of their events, and closes all without having seen the others.
    lose_four(&mut sim);
    sim.run_to(Micros::from_secs(24));
    let stale = sim.world().hardships.count(Hardship::StaleEvent);
    assert!(stale > 0, "every event came in time");
    assert_eq!(ends_of(&sim, SERVER).len(), 4);
    assert_eq!(sim.world().book.held_by(SERVER).count(), 4);
    sim.run_to(Micros::from_secs(100));
    assert_eq!(ends_of(&sim, SERVER).len(), 4);
}

#[test]
fn f23_an_event_for_a_connection_that_is_gone_does_not_reach_the_next_in_its_slot() {
    let mut stale = 0;
    for seed in 0..20 {
        let mut script = script(Speech::WebSocket, beats(), answers(), 4);
        // Those who come back may be told before those who are gone: the order is thrown.
        script.seed = seed;
        script.hosts[SERVER].program.events = 1;
        let mut sim = script.begin(false);
        lose_four(&mut sim);
        sim.run_to(Micros::from_secs(100));
        assert_eq!(ends_of(&sim, SERVER).len(), 4);
        assert_eq!(sim.world().book.held_by(SERVER).count(), 4);
        let count = |hardship| sim.world().hardships.count(hardship);
        stale += count(Hardship::StaleEventOfUsedSlot);
    }
    assert!(stale > 0, "every slot was free when its event came");
}

#[test]
fn f50_a_whole_life_before_the_first_wait_is_data_and_then_the_end() {
    for speech in [Speech::Line, Speech::Binary, Speech::Own] {
        let mut sim = script(speech, beats(), answers(), 1).begin(false);
        sim.act(Act::Stop(SERVER));
        sim.run_to(Micros::from_secs(1));
        sim.act(Act::Command(
            CLIENT,
            Command::Send {
                which: 0,
                size: 100,
            },
        ));
        sim.run_to(Micros::from_secs(2));
        sim.act(Act::Kill(CLIENT));
        sim.run_to(Micros::from_secs(3));
        sim.act(Act::Resume(SERVER));
        sim.run_to(Micros::from_millis(3_010));
        let end = only_end_of(&sim, SERVER);
        assert_eq!(end.evidence.cause, Cause::PeerEof, "{speech:?}");
        assert!(end.was_open);
        assert_eq!(end.delivered, 1);
    }
}

#[test]
fn f42_a_peer_that_sends_nothing_but_pongs_stays_for_ever() {
    for speech in SPEECHES {
        let mut sim = script(speech, beats(), answers(), 1).begin(false);
        let day = Micros::from_secs(24 * 60 * 60);
        sim.run_to(day);
        assert_eq!(ends_of(&sim, SERVER).len(), 0, "{speech:?}");
        // One for each ping and each pong, and those of the opening.
        let wakes = sim.world().hosts[SERVER].wakes;
        let most = 2 * day.as_micros() / INTERVAL.as_micros() + 20;
        assert!(wakes <= most, "{speech:?}: {wakes} of {most}");
    }
}

#[test]
fn f48_a_client_that_pings_and_falls_silent_is_silent_at_the_timeout() {
    let server = HeartbeatConfig {
        interval: None,
        ..beats()
    };
    let client = HeartbeatConfig {
        timeout: None,
        ..beats()
    };
    let mut sim = script(Speech::WebSocket, server, client, 1).begin(false);
    sim.run_to(Micros::from_millis(44_444));
    assert_eq!(ends_of(&sim, SERVER).len(), 0);
    cut(&mut sim, 0);
    sim.run_to(Micros::from_secs(200));
    let end = only_end_of(&sim, SERVER);
    assert_eq!(end.evidence.cause, Cause::Silent);
    assert_at_timeout(&end);
}

#[test]
fn f49_a_connection_that_is_not_read_is_not_silent_while_bytes_wait() {
    let mut sim = script(Speech::Line, beats(), answers(), 1).begin(false);
    sim.run_to(Micros::from_secs(21));
    sim.act(Act::Command(SERVER, Command::Pause { which: 0 }));
    sim.act(Act::Command(
        CLIENT,
        Command::Send {
            which: 0,
            size: 100,
        },
    ));
    sim.run_to(Micros::from_secs(600));
    assert_eq!(ends_of(&sim, SERVER).len(), 0);
    // Hundreds of pings later everything is there, and nobody is to blame for the wait.
    sim.act(Act::Command(SERVER, Command::Resume));
    sim.run_to(Micros::from_secs(900));
    assert_eq!(ends_of(&sim, SERVER).len(), 0);
}

#[test]
fn f26_a_thousand_that_lose_their_server_come_back_evenly() {
    const COUNT: usize = 1_000;
    let mut script = script(Speech::Binary, answers(), answers(), 1);
    for direction in &mut script.paths[0].to {
        direction.delay = Micros::ZERO;
    }
    let targets = &mut script.hosts[CLIENT].program.targets;
    *targets = vec![targets[0].clone(); COUNT];
    let mut sim = script.begin(false);
    let held = |sim: &Sim, host| sim.world().book.held_by(host).count();
    let lost = Micros::from_secs(100);
    sim.run_to(lost);
    assert_eq!(held(&sim, SERVER), COUNT);
    sim.act(Act::Kill(SERVER));
    sim.act(Act::Start(SERVER));
    // How many there are at the end of each hundredth of a second, from the loss on.
    let step = Micros::from_millis(10);
    let back: Vec<_> = (1..=51)
        .map(|steps| {
            sim.run_to(lost + step.saturating_mul(steps));
            held(&sim, SERVER)
        })
        .collect();
    assert_eq!(
        back[3], 0,
        "some are back before the shortest delay is over"
    );
    assert_eq!(back[50], COUNT, "some are not back after the longest one");
    // In any tenth of a second at most 1.5 times the mean: there are four and a half of them.
    let most = COUNT * 3 / 2 * 2 / 9;
    for window in back.windows(11) {
        let came = window[10] - window[0];
        assert!(
            came <= most,
            "{came} within 100 ms, at most {most}: {back:?}"
        );
    }
}

#[test]
fn f28_after_hours_without_trouble_a_blip_costs_half_a_second() {
    for speech in SPEECHES {
        let mut sim = script(speech, beats(), beats(), 1).begin(false);
        let is_back = |sim: &Sim| sim.world().book.held_by(SERVER).count() == 1;
        // Trouble from long ago, which made its delays grow.
        sim.run_to(Micros::from_secs(40));
        sim.act(Act::Kill(SERVER));
        sim.run_to(Micros::from_secs(400));
        sim.act(Act::Start(SERVER));
        sim.run_to(Micros::from_millis(400_600));
        assert!(!is_back(&sim), "no delay has grown");
        let blip = Micros::from_secs(5 * 3_600);
        sim.run_to(blip);
        assert!(is_back(&sim));
        sim.act(Act::Kill(SERVER));
        sim.act(Act::Start(SERVER));
        assert!(!is_back(&sim));
        // What the two directions of the path take, twice: to hear of it, and to come back.
        let path = Micros::from_millis(2 * 4 * 5);
        sim.run_to(blip + Micros::from_millis(500) + path);
        assert!(is_back(&sim), "{speech:?}");
        assert_eq!(
            ends_of(&sim, CLIENT).last().unwrap().evidence.cause,
            Cause::PeerEof
        );
    }
}

/// A server closes its listener while one client is connected and another one waits to be accepted, and
/// opens it again `absent` later.
fn close_listener(sim: &mut Sim, absent: Micros) {
    sim.run_to(Micros::from_secs(21));
    sim.act(Act::Stop(SERVER));
    // It comes back, and its kernel connects it to a server that does not run.
    sim.act(Act::Kill(CLIENT));
    sim.act(Act::Start(CLIENT));
    sim.act(Act::Command(SERVER, Command::CloseListener { which: 0 }));
    if absent == Micros::ZERO {
        sim.act(Act::Command(SERVER, Command::Listen));
    }
    sim.run_to(Micros::from_secs(22));
    sim.act(Act::Resume(SERVER));
    sim.run_to(Micros::from_secs(22) + absent);
    sim.act(Act::Command(SERVER, Command::Listen));
}

#[test]
fn f55_a_listener_that_closes_resets_who_waits_and_keeps_who_was_accepted() {
    for speech in SPEECHES {
        for absent in [Micros::ZERO, Micros::from_secs(8)] {
            let mut sim = script(speech, beats(), answers(), 2).begin(false);
            close_listener(&mut sim, absent);
            sim.run_to(Micros::from_secs(100));
            for met in [Hardship::ListenerClosed, Hardship::BacklogReset] {
                assert_eq!(sim.world().hardships.count(met), 1, "{met:?}");
            }
            // The one who waited was reset, then refused for as long as nobody listened.
            let causes: Vec<_> = ends_of(&sim, CLIENT)
                .iter()
                .map(|end| end.evidence.cause)
                .collect();
            assert_eq!(causes[0], Cause::PeerReset, "{speech:?}");
            let refused = &causes[1..];
            assert!(
                refused.iter().all(|&cause| cause == Cause::IoError),
                "{causes:?}"
            );
            assert_eq!(refused.is_empty(), absent == Micros::ZERO, "{causes:?}");
            // The other one, and in the end both, are connected.
            assert_eq!(ends_of(&sim, CLIENT + 1).len(), 0, "{speech:?}");
            assert_eq!(sim.world().book.held_by(SERVER).count(), 2, "{speech:?}");
        }
    }
}
