//! Before the handshake is over.

use heartwheel::config::{AdmissionConfig, HeartbeatConfig};
use rustls::version::TLS12;

use crate::hello::{Hello, in_records, name_list};
use crate::*;

/// Checks that these bytes end the handshake for this reason.
#[track_caller]
fn assert_fault(scene: &mut Scene, name: &str, bytes: &[u8], reason: &str) {
    scene.assert_end(name, Cause::TlsHandshake, reason, |scene| {
        let stream = scene.dial();
        scene.write(&stream, bytes);
        stream
    });
}

#[test]
fn what_is_no_record_is_named() {
    let mut scene = Scene::new();
    let long = [&[HANDSHAKE, 3, 3, 0xFF, 0xFF][..], &[0; 0xFFFF]].concat();
    let cases: [(&str, &[u8], &str); 9] = [
        ("noise", &[0xA5; 400], "invalid_content_type"),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n", "invalid_content_type"),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n", "invalid_content_type"),
        // The hello of SSL 2: its length, its type, its version.
        (
            "SSL 2",
            &[0x80, 46, 1, 3, 1, 0, 21, 0, 0],
            "invalid_content_type",
        ),
        (
            "a version of its own",
            &[HANDSHAKE, 9, 9, 0, 1, 0],
            "unknown_protocol_version",
        ),
        ("a long record", &long, "message_too_large"),
        (
            "an empty record",
            &record(HANDSHAKE, b""),
            "invalid_empty_payload",
        ),
        ("data", &record(DATA, b"hello\n"), "unexpected_message"),
        (
            "a heartbeat of TLS",
            &record(24, &[1, 0x40, 0]),
            "invalid_content_type",
        ),
    ];
    for (name, bytes, reason) in cases {
        assert_fault(&mut scene, name, bytes, reason);
    }
}

#[test]
fn older_versions_are_refused() {
    let mut scene = Scene::new();
    let old = |minor: u8| Hello {
        version: [3, minor],
        versions: None,
        ..Hello::default()
    };
    for minor in 0..=2 {
        let name = format!("3.{minor}");
        assert_fault(
            &mut scene,
            &name,
            &old(minor).records(),
            "tls12_not_offered",
        );
        // Whatever the outer version says.
        let versions = Hello {
            versions: Some(vec![[3, minor]]),
            ..Hello::default()
        };
        let reason = "tls12_not_offered_or_enabled";
        assert_fault(&mut scene, &name, &versions.records(), reason);
    }
}

/// RFC 8446, 4.1.3: whoever sits between and takes version 1.3 out of the hello is found out by the client.
#[test]
fn a_client_that_was_talked_down_to_tls_1_2_can_tell() {
    let mut scene = Scene::new();
    let hello = Hello {
        versions: None,
        ..Hello::default()
    };
    let stream = scene.dial();
    scene.write(&stream, &hello.records());
    let mut answer = Vec::new();
    scene.drive(|_| {
        answer.extend(read_all(&stream));
        answer.len() >= 43
    });
    // A ServerHello of version 1.2, and its random bytes.
    assert_eq!((answer[5], &answer[9..11]), (2, &[3, 3][..]));
    assert_eq!(answer[35..43], *b"DOWNGRD\x01");
    end_output(&stream);
    assert_eq!(scene.end(), (Cause::TlsHandshake, "truncated".to_owned()));
    scene.assert_well();
}

#[test]
fn names_that_are_none_end_it() {
    let mut scene = Scene::new();
    let long = [b'a'; 300];
    let no_name = "server_name_must_contain_one_host_name";
    let cases: [(&str, Vec<Vec<u8>>, &str); 10] = [
        ("no names", vec![vec![0, 0]], "illegal_empty_list"),
        ("empty", vec![name_list(&[b""])], "illegal_empty_value"),
        ("255 bytes", vec![name_list(&[&long[..255]])], no_name),
        ("300 bytes", vec![name_list(&[&long])], no_name),
        ("NUL", vec![name_list(&[b"server\0.test"])], no_name),
        (
            "umlaut",
            vec![name_list(&["s\u{e4}.test".as_bytes()])],
            no_name,
        ),
        ("not UTF-8", vec![name_list(&[b"\xFF\xFE"])], no_name),
        (
            "two",
            vec![name_list(&[b"server.test", b"b.test"])],
            "invalid_server_name",
        ),
        (
            "twice",
            vec![name_list(&[b"server.test"]); 2],
            "duplicate_extension",
        ),
        (
            "cut",
            vec![vec![0, 9, 0, 0, 200, b'a']],
            "message_too_short",
        ),
    ];
    for (name, names, reason) in cases {
        let hello = Hello {
            names,
            ..Hello::default()
        };
        assert_fault(&mut scene, name, &hello.records(), reason);
    }
}

/// RFC 6066, 3 forbids addresses; rustls takes them for no name.
#[test]
fn an_address_or_no_name_or_an_unknown_one_is_answered() {
    let mut scene = Scene::new();
    for names in [
        vec![],
        vec![name_list(&[b"127.0.0.1"])],
        vec![name_list(&[b"unknown.test"])],
    ] {
        let hello = Hello {
            names,
            ..Hello::default()
        };
        let stream = scene.dial();
        scene.write(&stream, &hello.records());
        scene.assert_answered_and_left(stream);
    }
}

#[test]
fn a_hello_that_is_too_long_ends_it() {
    let mut scene = Scene::new();
    let long = Hello {
        padding: 60_000,
        ..Hello::default()
    };
    // As much as rustls takes.
    let stream = scene.dial();
    scene.write(&stream, &long.records());
    scene.assert_answered_and_left(stream);

    let message = [&[1, 1, 0, 0][..], &[0; 0x1_0000]].concat();
    let bytes = in_records(&message, 16 * 1024);
    assert_fault(&mut scene, "64 KiB", &bytes, "handshake_payload_too_large");
    let message = [&[1, 0xFF, 0xFF, 0xFF][..], &[0; 100_000]].concat();
    let bytes = in_records(&message, 16 * 1024);
    assert_fault(&mut scene, "16 MiB", &bytes, "handshake_payload_too_large");
}

#[test]
fn a_hello_in_one_byte_pieces_and_in_a_few_records_is_one() {
    let mut scene = Scene::new();
    let hello = Hello::default();
    for (bytes, most) in [
        (hello.records(), 1),
        (in_records(&hello.message(), 1), usize::MAX),
        (in_records(&hello.message(), 1), 1),
        (in_records(&hello.message(), 100), 7),
    ] {
        let stream = scene.dial();
        scene.write_pieces(&stream, &bytes, most);
        scene.assert_answered_and_left(stream);
    }
}

/// It took 4 of the 5 seconds that a handshake may take: each byte moved all that had come before.
#[test]
fn a_hello_of_very_many_records_ends_it() {
    let mut scene = Scene::new();
    let message = [&[1, 0, 0xFF, 0xFE][..], &[0; 2_000]].concat();
    let bytes = in_records(&message, 1);
    assert_fault(&mut scene, "a byte each", &bytes, "too_many_records");
}

#[test]
fn alerts_and_ciphers_without_a_handshake_end_it() {
    let mut scene = Scene::new();
    let warning = record(ALERT, &[1, 112]);
    let cases = [
        ("alert", record(ALERT, &[2, 40]), "handshake_failure"),
        (
            "warnings",
            warning.repeat(100),
            "too_many_warning_alerts_received",
        ),
        ("half an alert", record(ALERT, &[1]), "missing_data"),
        (
            "new ciphers",
            record(CHANGE_CIPHER_SPEC, &[1]).repeat(100),
            "unexpected_message",
        ),
    ];
    for (name, bytes, reason) in cases {
        assert_fault(&mut scene, name, &bytes, reason);
    }
}

#[test]
fn data_before_the_handshake_is_over_ends_it() {
    let mut scene = Scene::new();
    let bytes = [Hello::default().records(), record(DATA, &[0; 40])].concat();
    assert_fault(&mut scene, "behind the hello", &bytes, "bad_record_mac");
    let bytes = [Hello::default().records(), Hello::default().records()].concat();
    assert_fault(&mut scene, "two hellos", &bytes, "bad_record_mac");
}

#[test]
fn handshakes_that_stop_anywhere_are_truncated() {
    let mut scene = Scene::new();
    let hello = Hello::default().records();
    for len in (0..60).chain([100, hello.len() - 1, hello.len()]) {
        let stream = scene.dial();
        scene.write(&stream, &hello[..len]);
        end_output(&stream);
        let (cause, reason) = scene.end();
        assert_eq!(
            (cause, &*reason),
            (Cause::TlsHandshake, "truncated"),
            "{len}"
        );
    }
    scene.assert_well();
}

#[test]
fn handshakes_that_end_by_a_reset_anywhere_say_so() {
    let mut scene = Scene::new();
    let hello = Hello::default().records();
    for len in [0, 1, 5, 100, hello.len()] {
        let stream = scene.dial();
        scene.write(&stream, &hello[..len]);
        reset(stream);
        let (cause, reason) = scene.end();
        assert_eq!((cause, &*reason), (Cause::PeerReset, ""), "{len}");
    }
    scene.assert_well();
}

/// A ticket that could not be written any more cost what had come.
#[test]
fn what_came_with_the_end_of_the_handshake_is_heard_though_a_reset_follows() {
    let mut scene = Scene::new();
    let mut peer = Peer::new(scene.dial(), &scene.root, &TLS13);
    // Up to the ServerHello and what is behind it, which is answered by the next call.
    scene.drive(|_| {
        peer.pump().unwrap();
        !peer.is_shaking()
    });
    peer.say(b"last words\n");
    peer.pump().unwrap();
    reset(peer.into_parts().0);
    assert_eq!(scene.end().0, Cause::PeerReset);
    assert!(scene.recorder.messages().contains(&b"last words".to_vec()));
    scene.assert_well();
}

#[test]
fn handshakes_that_stop_or_never_read_have_their_time() {
    let mut scene = Scene::with(|config| {
        config.heartbeat = HeartbeatConfig {
            handshake_timeout: Duration::from_millis(300),
            ..config.heartbeat
        }
    });
    let hello = Hello::default().records();
    let streams: Vec<_> = [0, 1, 5, 9, 100, hello.len()]
        .into_iter()
        .map(|len| {
            let stream = scene.dial();
            scene.write(&stream, &hello[..len]);
            stream
        })
        .collect();
    for _ in &streams {
        let (cause, _) = scene.end();
        assert_eq!(cause, Cause::HandshakeTimeout);
    }
    scene.assert_well();
}

#[test]
fn half_handshakes_of_one_address_make_way() {
    let mut scene = Scene::with(|config| {
        config.admission = AdmissionConfig {
            half_open_per_address: Some(8),
            ..AdmissionConfig::default()
        };
    });
    let hello = Hello::default().records();
    let mut streams = Vec::new();
    for number in 0..200 {
        let stream = scene.dial();
        scene.write(&stream, &hello[..number % 40]);
        streams.push(stream);
    }
    for _ in 0..192 {
        assert_eq!(scene.end().0, Cause::Refused);
    }
    // An honest one of the same address comes in.
    let honest = scene.open(&TLS12);
    drop((honest, streams));
    for _ in 0..9 {
        scene.end();
    }
    scene.assert_well();
}
