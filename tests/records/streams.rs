//! On an open connection.

use heartwheel::proto::message::Message;
use rustls::ContentType;
use rustls::version::TLS12;

use crate::hello::Hello;
use crate::support::dice::Dice;
use crate::*;

/// Checks that what the attacker seals ends the connection for this reason.
#[track_caller]
fn assert_fault(
    scene: &mut Scene,
    name: &str,
    reason: &str,
    mut make: impl FnMut(&mut Sealer) -> Vec<u8>,
) {
    scene.assert_end(name, Cause::TlsError, reason, |scene| {
        let (stream, mut sealer) = scene.open_sealer();
        scene.write(&stream, &make(&mut sealer));
        stream
    });
}

#[test]
fn records_without_anything_end_it() {
    let mut scene = Scene::new();
    let reason = "too_many_empty_fragments";
    assert_fault(&mut scene, "empty", reason, |sealer| {
        (0..1000).flat_map(|_| sealer.data(b"")).collect()
    });
    assert_fault(&mut scene, "nothing of a message", reason, |sealer| {
        (0..1000)
            .flat_map(|_| sealer.seal(ContentType::Handshake, b""))
            .collect()
    });
    let reason = "too_many_key_update_requests";
    assert_fault(&mut scene, "new keys", reason, |sealer| {
        (0..1000).flat_map(|_| sealer.new_keys(true)).collect()
    });
    // rustls counts each kind, and forgets it when the other comes.
    assert_fault(&mut scene, "both", "empty_records", |sealer| {
        (0..1000)
            .flat_map(|_| [sealer.new_keys(true), sealer.data(b"")].concat())
            .collect()
    });
}

/// It took 20 s of ours to send 1.5 MB, all of which was kept: each record moved what had come before.
#[test]
fn a_message_of_the_handshake_in_very_many_records_ends_it() {
    let mut scene = Scene::new();
    assert_fault(&mut scene, "a byte each", "empty_records", |sealer| {
        let mut all = sealer.seal(ContentType::Handshake, &[24, 0, 0xFF, 0xFF]);
        for _ in 0..1000 {
            all.extend(sealer.seal(ContentType::Handshake, &[0]));
        }
        all
    });
}

#[test]
fn new_keys_and_empty_records_between_messages_do_no_harm() {
    let mut scene = Scene::new();
    let (stream, mut sealer) = scene.open_sealer();
    let before = scene.recorder.messages().len();
    for round in 0..50 {
        let mut all = sealer.new_keys(round % 2 == 0);
        all.extend(sealer.data(b""));
        all.extend(sealer.data(b"hel"));
        all.extend(sealer.data(b""));
        all.extend(sealer.data(b"lo\n"));
        scene.write_pieces(&stream, &all, 1 + round * 3);
    }
    scene.drive(|scene| {
        let messages = scene.recorder.messages();
        messages.iter().filter(|text| *text == b"hello").count() >= 50
    });
    assert!(scene.recorder.messages().len() >= before + 50);
    drop(stream);
    scene.end();
    scene.assert_well();
}

#[test]
fn records_of_a_byte_all_come() {
    let mut scene = Scene::new();
    let (stream, mut sealer) = scene.open_sealer();
    let text = [&b"x".repeat(20_000)[..], b"\n"].concat();
    let all: Vec<_> = text.iter().flat_map(|&byte| sealer.data(&[byte])).collect();
    scene.write(&stream, &all);
    scene.drive(|scene| {
        scene
            .recorder
            .messages()
            .iter()
            .any(|text| text.len() == 20_000)
    });
    drop(stream);
    scene.end();
    scene.assert_well();
}

#[test]
fn what_has_no_place_on_an_open_connection_ends_it() {
    let mut scene = Scene::new();
    let hello = Hello::default().message();
    let cases: [(&str, ContentType, &[u8], &str); 5] = [
        (
            "hello",
            ContentType::Handshake,
            &hello,
            "unexpected_message",
        ),
        (
            "ciphers",
            ContentType::ChangeCipherSpec,
            &[1],
            "illegal_middlebox_change_cipher_spec",
        ),
        (
            "warning",
            ContentType::Alert,
            &[1, 112],
            "unrecognized_name",
        ),
        ("alert", ContentType::Alert, &[2, 10], "unexpected_message"),
        (
            "unknown",
            ContentType::Unknown(99),
            b"x",
            "invalid_content_type",
        ),
    ];
    for (name, typ, payload, reason) in cases {
        assert_fault(&mut scene, name, reason, |sealer| sealer.seal(typ, payload));
    }
    // RFC 8446, 6.1: this one may come, but what for?
    let reason = "too_many_warning_alerts_received";
    assert_fault(&mut scene, "canceled", reason, |sealer| {
        (0..100)
            .flat_map(|_| sealer.seal(ContentType::Alert, &[1, 90]))
            .collect()
    });
}

#[test]
fn bytes_that_nobody_sealed_end_it() {
    let mut scene = Scene::new();
    let long = [&[DATA, 3, 3, 0x48, 1][..], &[0; 0x4801]].concat();
    let cases: [(&str, Vec<u8>, &str); 6] = [
        ("noise", vec![0xA5; 100], "invalid_content_type"),
        ("data", record(DATA, b"hello\n"), "bad_record_mac"),
        ("nothing", record(DATA, b""), "bad_record_mac"),
        ("an alert", record(ALERT, &[2, 40]), "bad_record_mac"),
        ("a hello", Hello::default().records(), "bad_record_mac"),
        ("a long one", long, "message_too_large"),
    ];
    for (name, bytes, reason) in cases {
        assert_fault(&mut scene, name, reason, |_| bytes.clone());
    }
}

#[test]
fn what_came_before_a_bad_record_is_handed_over() {
    let mut scene = Scene::new();
    let (stream, mut sealer) = scene.open_sealer();
    let bytes = [sealer.data(b"last words\n"), record(DATA, &[0; 30])].concat();
    scene.write(&stream, &bytes);
    let end = scene.end();
    assert_eq!((end.0, &*end.1), (Cause::TlsError, "bad_record_mac"));
    assert!(scene.recorder.messages().contains(&b"last words".to_vec()));
    scene.assert_well();
}

#[test]
fn nothing_counts_behind_a_goodbye() {
    let mut scene = Scene::new();
    let (stream, mut sealer) = scene.open_sealer();
    let mut all = sealer.data(b"before\n");
    all.extend(sealer.seal(ContentType::Alert, &[1, 0]));
    all.extend(sealer.data(b"behind\n"));
    all.extend([0xA5; 100]);
    scene.write(&stream, &all);
    assert_eq!(scene.end().0, Cause::PeerEof);
    let messages = scene.recorder.messages();
    assert!(messages.contains(&b"before".to_vec()));
    assert!(!messages.contains(&b"behind".to_vec()));
    drop(stream);
    scene.assert_well();
}

#[test]
fn a_second_handshake_is_refused() {
    let mut scene = Scene::new();
    let (stream, mut sealer) = scene.open(&TLS12).into_parts();
    let hello = sealer.seal(ContentType::Handshake, &Hello::default().message());
    scene.write(&stream, &hello);
    let said = sealer.data(b"still here\n");
    scene.write(&stream, &said);
    scene.drive(|scene| scene.recorder.messages().contains(&b"still here".to_vec()));
    let more: Vec<_> = (0..100)
        .flat_map(|_| sealer.seal(ContentType::Handshake, &Hello::default().message()))
        .collect();
    scene.write(&stream, &more);
    let (cause, reason) = scene.end();
    let expected = "too_many_renegotiation_requests";
    assert_eq!((cause, &*reason), (Cause::TlsError, expected));
    drop(stream);
    scene.assert_well();
}

/// rustls keeps its place in what has come of a message, which must be there whenever we write.
#[test]
fn new_keys_may_come_byte_by_byte_while_we_write() {
    let mut scene = Scene::new();
    let (stream, mut sealer) = scene.open_sealer();
    let id = *scene.recorder.opened().last().unwrap();
    for _ in 0..2 {
        let pieces = sealer.new_keys_in_pieces();
        for byte in pieces.iter().flatten() {
            scene.write(&stream, &[*byte]);
            let sent = scene.reactor.context().send(id, Message::text("x"));
            assert_eq!(sent, Ok(()));
            scene.turn();
        }
        let said = sealer.data(b"hello\n");
        scene.write(&stream, &said);
    }
    scene.drive(|scene| {
        let messages = scene.recorder.messages();
        messages.iter().filter(|text| *text == b"hello").count() == 2
    });
    drop(stream);
    scene.end();
    scene.assert_well();
}

#[test]
fn an_end_without_a_goodbye_and_a_reset_are_told_apart() {
    let mut scene = Scene::new();
    let (stream, mut sealer) = scene.open_sealer();
    let said = sealer.data(b"last\n");
    scene.write(&stream, &said);
    end_output(&stream);
    let (cause, reason) = scene.end();
    assert_eq!((cause, &*reason), (Cause::TlsError, "truncated"));
    assert!(scene.recorder.messages().contains(&b"last".to_vec()));

    // In the middle of a record.
    let (stream, mut sealer) = scene.open_sealer();
    let said = sealer.data(b"last\n");
    scene.write(&stream, &said[..10]);
    reset(stream);
    assert_eq!(scene.end().0, Cause::PeerReset);
    scene.assert_well();
}

#[test]
fn mixtures_of_records_in_any_pieces_do_no_harm() {
    let mut scene = Scene::new();
    for seed in 0..200 {
        println!("seed {seed}");
        let mut dice = Dice::new(seed);
        let (stream, mut sealer) = scene.open_sealer();
        let id = *scene.recorder.opened().last().unwrap();
        for _ in 0..dice.index(12) {
            let bytes = mixture(&mut dice, &mut sealer);
            let most = 1 + dice.index(bytes.len().max(1));
            scene.write_pieces(&stream, &bytes, most);
            if dice.index(2) == 0 {
                // It may be over.
                let _sent = scene.reactor.context().send(id, Message::text("x"));
            }
        }
        if dice.index(4) == 0 {
            let mut cx = scene.reactor.context();
            cx.close(id, heartwheel::close::CloseCode::NORMAL, "");
        }
        drop(stream);
        scene.end();
    }
    scene.assert_well();
}

/// Some records: such as they should be, and others.
fn mixture(dice: &mut Dice, sealer: &mut Sealer) -> Vec<u8> {
    match dice.index(10) {
        0..=2 => sealer.data(&vec![b'x'; dice.index(3_000)]),
        3 => sealer.data(b"hello\n"),
        4 => sealer.data(b""),
        5 => sealer.new_keys(dice.index(2) == 0),
        6 => sealer.new_keys_in_pieces().concat(),
        7 => {
            let len = u8::try_from(dice.index(4)).unwrap();
            let message = [24, 0, len, 1, 0, 24, 0, 0, 1];
            sealer.seal(ContentType::Handshake, &message[..1 + dice.index(8)])
        }
        8 => {
            let mut bytes = sealer.data(b"hello\n");
            let place = dice.index(bytes.len());
            bytes[place] ^= 1 << dice.index(8);
            match dice.index(4) {
                0 => bytes,
                _ => Vec::new(),
            }
        }
        _ => {
            let alert = [1 + dice.byte() % 2, [0, 90, 40][dice.index(3)]];
            match dice.index(4) {
                0 => sealer.seal(ContentType::Alert, &alert),
                _ => Vec::new(),
            }
        }
    }
}
