//! Offers and answers, by the parts of RFC 7692, section 7.1.

use super::*;

const BOTH: DeflateConfig = DeflateConfig {
    level: 2,
    threshold: 0,
    longest: 1 << 20,
    takeover: true,
    peer_takeover: true,
    window_bits: 15,
    peer_window_bits: 15,
};

fn elements(list: &str) -> impl Iterator<Item = &[u8]> {
    let elements = list.split(',').map(|element| element.trim().as_bytes());
    elements.filter(|element| !element.is_empty())
}

/// The answer to a list of offers.
fn answer(config: &DeflateConfig, offers: &str) -> Option<String> {
    DeflateAgreement::answer(config, elements(offers)).map(|(_, answer)| answer)
}

fn check(config: &DeflateConfig, answers: &str) -> Option<DeflateAgreement> {
    DeflateAgreement::check(config, elements(answers))
}

/// Takeover and window bits of ours, and then of the peer's.
fn parts(agreed: DeflateAgreement) -> (bool, u8, bool, u8) {
    let DeflateAgreement {
        takeover,
        peer_takeover,
        window_bits,
        peer_window_bits,
    } = agreed;
    (takeover, window_bits, peer_takeover, peer_window_bits)
}

#[test]
fn a_server_answers_what_it_is_asked_for() {
    let default = DeflateConfig::default();
    let none = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    for offer in [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
        "x-webkit-deflate-frame, permessage-deflate; client_max_window_bits",
    ] {
        assert_eq!(answer(&default, offer).as_deref(), Some(none), "{offer}");
    }
    for (offer, more) in [
        ("permessage-deflate", ""),
        ("permessage-deflate; client_max_window_bits", ""),
        (
            "permessage-deflate; client_max_window_bits=10",
            "; client_max_window_bits=10",
        ),
        (
            "permessage-deflate; server_max_window_bits=10",
            "; server_max_window_bits=10",
        ),
        (
            "permessage-deflate; server_max_window_bits=\"15\"",
            "; server_max_window_bits=15",
        ),
        (
            "permessage-deflate;server_no_context_takeover",
            "; server_no_context_takeover",
        ),
        (
            "permessage-deflate ; client_no_context_takeover",
            "; client_no_context_takeover",
        ),
    ] {
        let expected = format!("permessage-deflate{more}");
        assert_eq!(answer(&BOTH, offer), Some(expected), "{offer}");
    }
    let small = DeflateConfig {
        window_bits: 11,
        peer_window_bits: 12,
        ..BOTH
    };
    for (offer, more) in [
        // 7.1.2.2: "If a received extension negotiation offer doesn't have the "client_max_window_bits"
        // extension parameter, the corresponding extension negotiation response to the offer MUST NOT
        // include" it.
        ("permessage-deflate", "; server_max_window_bits=11"),
        (
            "permessage-deflate; client_max_window_bits; server_max_window_bits=13",
            "; server_max_window_bits=11; client_max_window_bits=12",
        ),
        (
            "permessage-deflate; client_max_window_bits=9; server_max_window_bits=9",
            "; server_max_window_bits=9; client_max_window_bits=9",
        ),
    ] {
        let expected = format!("permessage-deflate{more}");
        assert_eq!(answer(&small, offer), Some(expected), "{offer}");
    }
}

#[test]
fn a_server_declines_what_is_invalid_and_takes_the_next_offer() {
    for parameter in [
        "x",
        "server_no_context_takeover=1",
        "client_no_context_takeover; client_no_context_takeover",
        "server_no_context_takeover; server_no_context_takeover",
        "server_max_window_bits",
        "server_max_window_bits=7",
        "server_max_window_bits=16",
        "server_max_window_bits=010",
        "server_max_window_bits=1e1",
        "server_max_window_bits=10; server_max_window_bits=10",
        "client_max_window_bits; client_max_window_bits=10",
        "client_max_window_bits=0",
        "client_max_window_bits=99999999999999999999",
        "Client_Max_Window_Bits",
        // Our compressor has none so small.
        "server_max_window_bits=8",
    ] {
        let offer = format!("permessage-deflate; {parameter}");
        assert_eq!(answer(&BOTH, &offer), None, "{offer}");
        let offers = format!("{offer}, permessage-deflate; server_max_window_bits=10");
        let expected = "permessage-deflate; server_max_window_bits=10";
        assert_eq!(answer(&BOTH, &offers).as_deref(), Some(expected), "{offer}");
    }
    assert_eq!(answer(&BOTH, "permessage-bzip2, x"), None);
}

#[test]
fn a_client_offers_what_it_wants() {
    let text = DeflateAgreement::offer(&DeflateConfig::default());
    assert_eq!(
        text,
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
         client_max_window_bits"
    );
    let text = DeflateAgreement::offer(&BOTH);
    assert_eq!(text, "permessage-deflate; client_max_window_bits");
    let small = DeflateConfig {
        window_bits: 10,
        peer_window_bits: 9,
        ..BOTH
    };
    assert_eq!(
        DeflateAgreement::offer(&small),
        "permessage-deflate; server_max_window_bits=9; client_max_window_bits=10"
    );
}

#[test]
fn a_client_takes_an_answer_that_fits_its_offer_and_no_other() {
    let agreed = |answer| check(&BOTH, answer).map(parts);
    for (answer, expected) in [
        ("permessage-deflate", (true, 15, true, 15)),
        (
            "permessage-deflate; client_no_context_takeover",
            (false, 15, true, 15),
        ),
        (
            "permessage-deflate; server_no_context_takeover",
            (true, 15, false, 15),
        ),
        (
            "permessage-deflate; server_max_window_bits=8; client_max_window_bits=\"9\"",
            (true, 9, true, 8),
        ),
        (
            "permessage-deflate; client_max_window_bits=8",
            (true, 8, true, 15),
        ),
    ] {
        assert_eq!(agreed(answer), Some(expected), "{answer}");
    }
    for answer in [
        "",
        "permessage-bzip2",
        "permessage-deflate, permessage-deflate",
        "permessage-deflate, x",
        "permessage-deflate; x",
        "permessage-deflate; client_max_window_bits",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; client_no_context_takeover=true",
        "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
        "permessage-deflate;",
        "permessage-deflate; ;",
    ] {
        assert_eq!(agreed(answer), None, "{answer}");
    }
    // 7.1.1.1 and 7.1.2: what we have asked for must be in the answer.
    let default = DeflateConfig::default();
    assert_eq!(check(&default, "permessage-deflate"), None);
    let fits = check(&default, "permessage-deflate; server_no_context_takeover");
    assert_eq!(fits.map(parts), Some((false, 15, false, 15)));
    let small = DeflateConfig {
        window_bits: 10,
        peer_window_bits: 12,
        ..BOTH
    };
    for (answer, expected) in [
        ("permessage-deflate", None),
        ("permessage-deflate; server_max_window_bits=13", None),
        (
            "permessage-deflate; server_max_window_bits=12",
            Some((true, 10, true, 12)),
        ),
        (
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=11",
            None,
        ),
        (
            "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9",
            Some((true, 9, true, 9)),
        ),
    ] {
        assert_eq!(check(&small, answer).map(parts), expected, "{answer}");
    }
}

#[test]
fn both_sides_of_every_offer_that_is_accepted_agree() {
    let all = |of: [DeflateConfig; 4]| of.into_iter().chain([DeflateConfig::default()]);
    let configs = || {
        all(
            [(15, 15), (9, 15), (12, 9), (10, 11)].map(|(window_bits, peer_window_bits)| {
                DeflateConfig {
                    window_bits,
                    peer_window_bits,
                    takeover: window_bits != 10,
                    ..BOTH
                }
            }),
        )
    };
    for (client, server) in
        configs().flat_map(|client| configs().map(move |server| (client, server)))
    {
        let offer = DeflateAgreement::offer(&client);
        let (ours, answer) = DeflateAgreement::answer(&server, elements(&offer)).expect("it fits");
        let theirs = check(&client, &answer).expect("it fits");
        let (takeover, bits, peer_takeover, peer_bits) = parts(theirs);
        assert_eq!(
            parts(ours),
            (peer_takeover, peer_bits, takeover, bits),
            "{offer} {answer}"
        );
        assert!(ours.can_compress() && theirs.can_compress());
    }
}
