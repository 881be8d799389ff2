//! Times that make no sense are refused before anything begins (F37).

use std::net::SocketAddr;
use std::time::Duration;

use heartwheel::config::{HeartbeatConfig, LimitsConfig, ReactorConfig};
use heartwheel::error::Error;
use heartwheel::reactor::{
    ClientConfig, Keepalive, ListenerConfig, Reactor, ReconnectConfig, WireFactory,
};

use crate::support::program::start;
use crate::support::recorder::Recorder;
use crate::support::turning::{
    connect_peer, drive, drive_for, listen, listen_with, reactor, reactor_with,
};

/// Longer than anything accepts, and as long as can be written down.
const HUGE: [Duration; 2] = [
    HeartbeatConfig::LONGEST.saturating_add(Duration::from_nanos(1)),
    Duration::MAX,
];

/// What is to be refused, and the field that is to be named.
#[derive(Debug, Default)]
struct Wrong {
    heartbeats: Vec<(HeartbeatConfig, &'static str)>,
    limits: Vec<(LimitsConfig, &'static str)>,
}

fn wrong() -> Wrong {
    let mut wrong = Wrong::default();
    let mut set = |field, spoil: &dyn Fn(&mut HeartbeatConfig)| {
        let mut config = HeartbeatConfig::tcp();
        spoil(&mut config);
        wrong.heartbeats.push((config, field));
    };
    for bad in [Duration::ZERO, HUGE[0], HUGE[1]] {
        // Alone, so that it is not refused for what it is beside the other.
        set("interval", &|config| {
            (config.interval, config.timeout) = (Some(bad), None);
        });
        set("timeout", &|config| {
            (config.interval, config.timeout) = (None, Some(bad));
        });
        set("write_timeout", &|config| config.write_timeout = Some(bad));
        set("connect_timeout", &|config| config.connect_timeout = bad);
        set("handshake_timeout", &|config| {
            config.handshake_timeout = bad
        });
        set("close_timeout", &|config| config.close_timeout = bad);
        set("close_total", &|config| config.close_total = bad);
        set("app_idle", &|config| config.app_idle = Some(bad));
        set("max_lifetime", &|config| config.max_lifetime = Some(bad));
    }
    for (interval, timeout) in [(1_000, 1_000), (1_000, 999), (25_001, 25_000)] {
        set("timeout", &|config| {
            config.interval = Some(Duration::from_millis(interval));
            config.timeout = Some(Duration::from_millis(timeout));
        });
    }
    // Which of two rounds up to the other.
    set("timeout", &|config| {
        config.interval = Some(Duration::from_micros(999_001));
        config.timeout = Some(Duration::from_secs(1));
    });
    for slack in [Duration::from_millis(2_500), HUGE[0], HUGE[1]] {
        set("ping_slack", &|config| config.ping_slack = Some(slack));
    }
    let mut limit = |field, spoil: &dyn Fn(&mut LimitsConfig)| {
        let mut config = LimitsConfig::default();
        spoil(&mut config);
        wrong.limits.push((config, field));
    };
    for bad in [Duration::ZERO, HUGE[0], HUGE[1]] {
        limit("slow_grace", &|config| config.slow_grace = bad);
        limit("message_timeout", &|config| {
            config.message_timeout = Some(bad)
        });
    }
    for rate in [0, 1_001, u32::MAX] {
        limit("pings_per_second", &|config| {
            config.pings_per_second = Some(rate)
        });
        limit("pongs_per_second", &|config| {
            config.pongs_per_second = Some(rate)
        });
    }
    for rate in [0, 1_000_001] {
        limit("messages_per_second", &|config| {
            config.messages_per_second = Some(rate)
        });
    }
    for rate in [0, 1_023] {
        limit("bytes_per_second", &|config| {
            config.bytes_per_second = Some(rate)
        });
    }
    for size in [0, usize::MAX] {
        limit("max_message", &|config| config.max_message = size);
    }
    wrong
}

/// Checks that an error names the field and gives a reason.
#[track_caller]
fn assert_refused<T>(refused: Result<T, Error>, field: &str) {
    let Err(Error::Config(error)) = refused else {
        panic!("{field} was accepted");
    };
    assert_eq!(error.field(), field, "{error}");
    assert!(
        error.reason().starts_with("must") || error.reason().starts_with("needs"),
        "{error}"
    );
    assert!(error.to_string().contains(field), "{error}");
}

#[test]
fn f37_times_that_make_no_sense_are_refused_by_field_with_the_reason() {
    let (mut reactor, mut recorder) = (reactor(), Recorder::default());
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let (_, addr) = listen(&mut reactor, WireFactory::Line);
    let _peer = connect_peer(addr);
    drive(&mut reactor, &mut recorder, |seen| {
        !seen.opened().is_empty()
    });
    let open = recorder.opened()[0];
    let listener = || ListenerConfig::new(any, WireFactory::Line);
    let client = || ClientConfig::new("127.0.0.1", addr.port(), WireFactory::Line);
    let wrong = wrong();
    for (heartbeat, field) in wrong.heartbeats {
        let (mut listener, mut client) = (listener(), client());
        listener.heartbeat = heartbeat.clone();
        client.heartbeat = heartbeat.clone();
        assert_refused(reactor.listen(listener), field);
        assert_refused(reactor.connect(client), field);
        assert_refused(reactor.context().set_heartbeat(open, &heartbeat), field);
    }
    for (limits, field) in wrong.limits {
        let (mut listener, mut client) = (listener(), client());
        listener.limits = limits.clone();
        client.limits = limits;
        assert_refused(reactor.listen(listener), field);
        assert_refused(reactor.connect(client), field);
    }
    let millis = Duration::from_millis;
    for (min, base, cap) in [
        (Duration::ZERO, millis(1), millis(1)),
        (millis(2), millis(1), millis(2)),
        (millis(1), millis(2), millis(1)),
    ] {
        let mut client = client();
        let again = ReconnectConfig::default();
        client.reconnect = Some(ReconnectConfig {
            min,
            base,
            cap,
            ..again
        });
        assert_refused(reactor.connect(client), "reconnect");
    }
    for bad in [Duration::ZERO, Duration::MAX] {
        let mut config = listener();
        config.socket.user_timeout = Some(bad);
        assert_refused(reactor.listen(config), "user_timeout");
        let mut config = listener();
        config.socket.keepalive = Some(Keepalive::after(bad));
        assert_refused(reactor.listen(config), "keepalive");
    }
    // Nothing of all this has touched the one that is open, nor begun anything.
    assert_eq!((reactor.len(), recorder.seen.len()), (1, 1));
    for tick in [
        Duration::ZERO,
        Duration::from_micros(1_500),
        millis(1_001),
        Duration::MAX,
    ] {
        let config = ReactorConfig {
            tick,
            ..ReactorConfig::default()
        };
        assert_refused(Reactor::<u32>::new(config), "tick");
    }
}

/// What is accepted however long it is: the end of time, which never comes.
#[test]
fn f37_the_longest_times_never_come() {
    let (mut reactor, mut recorder) = (
        reactor_with(ReactorConfig {
            max_connections: 64,
            ..ReactorConfig::default()
        }),
        Recorder::default(),
    );
    let mut config = ListenerConfig::new(([127, 0, 0, 1], 0).into(), WireFactory::Line);
    let longest = Some(HeartbeatConfig::LONGEST);
    config.heartbeat = HeartbeatConfig {
        interval: Some(HeartbeatConfig::LONGEST - Duration::from_millis(1)),
        timeout: longest,
        write_timeout: longest,
        app_idle: longest,
        max_lifetime: longest,
        ..HeartbeatConfig::tcp()
    };
    let (_, addr) = listen_with(&mut reactor, config);
    let mut client = ClientConfig::new("127.0.0.1", addr.port(), WireFactory::Line);
    client.reconnect = Some(ReconnectConfig {
        cap: Duration::MAX,
        stable: Duration::MAX,
        ..ReconnectConfig::default()
    });
    reactor.connect(client).unwrap();
    let timer = reactor.context().set_timer(Duration::MAX, 1);
    drive(&mut reactor, &mut recorder, |seen| seen.opened().len() == 2);
    drive_for(&mut reactor, &mut recorder, Duration::from_millis(100));
    assert!(recorder.closed().is_empty());
    assert!(reactor.context().cancel_timer(timer), "it has fired");
    let wake = reactor.next_timeout().expect("pings are due one day");
    assert!(wake <= HeartbeatConfig::LONGEST, "{wake:?}");
    reactor.context().drain(Duration::MAX);
    drive(&mut reactor, &mut recorder, |seen| seen.closed().len() == 2);
}

#[test]
fn f37_the_program_refuses_them_by_flag_with_the_reason() {
    let times = [
        "--interval",
        "--timeout",
        "--ping-slack",
        "--write-timeout",
        "--handshake-timeout",
        "--close-timeout",
        "--close-total",
        "--app-idle",
        "--max-lifetime",
        "--slow-grace",
        "--message-timeout",
        "--tcp-user-timeout",
    ];
    let targets: [&[&str]; 2] = [
        &["serve", "--ws", "127.0.0.1:0"],
        &["connect", "ws://127.0.0.1:9"],
    ];
    for target in targets {
        for flag in times {
            for value in ["0s", "-1s", "13days", "99999999999999999999s", "soon", ""] {
                // Zero is how slack is switched off; of the kernel's timeouts 24 days are the most.
                let is_fine = matches!((flag, value), ("--ping-slack", "0s"))
                    || matches!((flag, value), ("--tcp-user-timeout", "13days"));
                if is_fine || target[0] == "connect" && flag == "--tcp-user-timeout" {
                    continue;
                }
                let argument = format!("{flag}={value}");
                assert_usage(&[target, &[&argument]].concat(), &[flag]);
            }
        }
        let pairs = [
            ("10s", "10s"),
            ("10s", "9s"),
            ("10s", "1ms"),
            ("12days", "1s"),
        ];
        for (interval, timeout) in pairs {
            let args = ["--interval", interval, "--timeout", timeout];
            assert_usage(&[target, &args].concat(), &["--timeout", "--interval"]);
        }
        // The other one follows, and cannot: the flag that was typed is to blame.
        let alone = [
            ["--interval", "5days"],
            ["--interval", "12days"],
            ["--timeout", "1ms"],
        ];
        for typed in alone {
            assert_usage(&[target, &typed].concat(), &[&typed.join(" ")]);
        }
    }
    for tick in ["0s", "1500us", "2s", "-1ms"] {
        let argument = format!("--tick={tick}");
        assert_usage(&[targets[0], &[&argument]].concat(), &["--tick"]);
    }
}

/// Expects exit code 2 before anything begins, and one line that names these.
#[track_caller]
fn assert_usage(args: &[&str], names: &[&str]) {
    let mut process = start(args);
    process.input().end();
    let status = process.wait_exit();
    let (shown, stderr) = (process.transcript(), process.stderr());
    assert_eq!(status.code(), Some(2), "{args:?}: {shown}");
    assert_eq!(process.stdout(), "", "{args:?}: {shown}");
    assert_eq!(stderr.lines().count(), 1, "{args:?}: {shown}");
    for name in names {
        assert!(stderr.contains(name), "{args:?} names no {name}: {shown}");
    }
    assert!(!stderr.contains("panicked"), "{args:?}: {shown}");
}
