//! Messages, compressed and inflated, without frames.

use proptest::prelude::*;

use super::tail::TAIL;
use super::*;
use crate::proto::pool::Pool;
use crate::proto::wire::MessageKind;

const LIMIT: usize = 1 << 20;

const PLAIN: Strength = Strength {
    level: 2,
    window_bits: LARGEST_WINDOW,
};

fn compress(strength: Strength, window: &[u8], message: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut compressors = Compressors::default();
    let packed = compressors.compress(strength, window, message, &mut out);
    packed.map(<[u8]>::to_vec)
}

/// Inflates to the end, and counts the steps.
fn inflate_within(
    kind: MessageKind,
    packed: &[u8],
    window: &[u8],
    limit: usize,
) -> Result<(Vec<u8>, usize), Fault> {
    let (mut inflaters, mut pool) = (Inflaters::default(), Pool::default());
    let input = packed.to_vec();
    let mut inflation = Inflation::begin(&mut inflaters, &mut pool, kind, input, window, limit);
    for steps in 1.. {
        match inflation.step(&mut inflaters, window) {
            Ok(Inflated::Whole) => {
                assert_eq!(inflation.compressed_len(), packed.len());
                let (_, message) = inflation.end(&mut inflaters, &mut pool);
                return Ok((message, steps));
            }
            Ok(Inflated::Unfinished) => {}
            Err(fault) => {
                assert!(inflation.message().len() <= limit.max(64 * 1024) + 1);
                return Err(fault);
            }
        }
    }
    unreachable!("each step gets further")
}

fn inflate(packed: &[u8]) -> Result<Vec<u8>, Fault> {
    let inflated = inflate_within(MessageKind::Binary, packed, &[], LIMIT);
    inflated.map(|(message, _)| message)
}

#[test]
fn the_samples_of_rfc_7692_section_7_2_3_are_hello() {
    let fixed = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];
    assert_eq!(inflate(&fixed), Ok(b"Hello".to_vec()), "7.2.3.1");
    let stored = [
        0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00,
    ];
    assert_eq!(inflate(&stored), Ok(b"Hello".to_vec()), "7.2.3.3");
    let last = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    assert_eq!(inflate(&last), Ok(b"Hello".to_vec()), "7.2.3.4");
    let two = [
        0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00,
    ];
    assert_eq!(inflate(&two), Ok(b"Hello".to_vec()), "7.2.3.5");
    assert_eq!(
        inflate(&[0x00]),
        Ok(Vec::new()),
        "7.2.3.6: an empty message"
    );
    // 7.2.3.2: the second message refers to the first.
    let again = [0xf2, 0x00, 0x11, 0x00, 0x00];
    let inflated = inflate_within(MessageKind::Text, &again, b"Hello", LIMIT);
    assert_eq!(inflated, Ok((b"Hello".to_vec(), 1)));
    assert_eq!(inflate(&again), Err(Fault::Malformed), "it was not kept");
}

#[test]
fn what_follows_a_last_block_may_refer_to_what_came_before_it() {
    // "Hello" in a block that is marked as the last, and a reference five bytes back.
    let packed = [
        0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x02, 0x13, 0x00, 0x00,
    ];
    assert_eq!(inflate(&packed), Ok(b"HelloHello".to_vec()));
}

#[test]
fn a_message_that_lacks_its_end_or_has_more_than_it_is_malformed() {
    let message = b"some text that repeats: some text that repeats, and some that does not";
    let packed = compress(PLAIN, &[], message).expect("it is shorter");
    assert_eq!(inflate(&packed), Ok(message.to_vec()));
    for cut in 0..packed.len() {
        assert_eq!(inflate(&packed[..cut]), Err(Fault::Malformed), "{cut}");
    }
    for more in [&[0x02][..], &[0x06], &[0x00, 0x01, 0x02], b"garbage"] {
        let packed = [&packed, more].concat();
        assert_eq!(inflate(&packed), Err(Fault::Malformed), "{more:?}");
    }
    let with_tail = [&packed[..], &TAIL].concat();
    assert_eq!(inflate(&with_tail), Err(Fault::Malformed), "twice");
}

#[test]
fn a_bomb_ends_at_the_limit_and_costs_no_more_than_that() {
    let packed = compress(PLAIN, &[], &vec![0; 64 << 20]).expect("it is much shorter");
    assert!(packed.len() < 300_000, "{}", packed.len());
    let (mut inflaters, mut pool) = (Inflaters::default(), Pool::default());
    let kind = MessageKind::Binary;
    let mut bomb = Inflation::begin(&mut inflaters, &mut pool, kind, packed, &[], LIMIT);
    inflaters.take_effort();
    let mut end = Ok(Inflated::Unfinished);
    while end == Ok(Inflated::Unfinished) {
        end = bomb.step(&mut inflaters, &[]);
        assert!(bomb.memory() < 3 * LIMIT, "{}", bomb.memory());
    }
    assert_eq!(end, Err(Fault::TooBig));
    assert_eq!(bomb.message().len(), LIMIT + 1);
    let effort = inflaters.take_effort();
    assert!(effort < LIMIT / 32, "{effort} steps");
}

#[test]
fn a_message_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() {
    for limit in [1, 100, 4_096, 65_536, 100_000] {
        for (len, is_taken) in [(limit, true), (limit + 1, false)] {
            let message = vec![b'x'; len + 3];
            let packed = compress(PLAIN, &message[..3], &message[..len]);
            let packed = packed.unwrap_or_else(|| stored(&message[..len]));
            let inflated = inflate_within(MessageKind::Text, &packed, &message[..3], limit);
            let inflated = inflated.map(|(message, _)| message.len());
            let expected = if is_taken {
                Ok(len)
            } else {
                Err(Fault::TooBig)
            };
            assert_eq!(inflated, expected, "{limit}");
        }
    }
}

/// A message in a block without compression, less its tail.
fn stored(message: &[u8]) -> Vec<u8> {
    let len = u16::try_from(message.len()).expect("a short one");
    let [low, high] = len.to_le_bytes();
    [&[0, low, high, !low, !high][..], message, &[0]].concat()
}

#[test]
fn endless_empty_blocks_cost_by_their_bytes_and_others_have_their_turn() {
    // Empty blocks without compression, and empty ones that are marked as the last.
    let stored = [0x00, 0x00, 0x00, 0xff, 0xff].repeat(200_000);
    let packed = [&stored[..], &[0x00]].concat();
    let (message, steps) =
        inflate_within(MessageKind::Text, &packed, &[], 10).expect("it is sound");
    assert!(
        message.is_empty() && steps >= packed.len() / inflation::STEP,
        "{steps}"
    );
    let last = [0x03, 0x00].repeat(10_000);
    let packed = [&last[..], &[0x00]].concat();
    let (message, steps) =
        inflate_within(MessageKind::Text, &packed, &[7; 1 << 15], 10).expect("sound");
    assert!(message.is_empty() && steps > 200, "{steps}");
}

#[test]
fn text_is_checked_as_it_appears() {
    let mut text = vec![b'a'; 600_000];
    text[10] = 0xff;
    let packed = compress(PLAIN, &[], &text).expect("it is shorter");
    let inflated = inflate_within(MessageKind::Text, &packed, &[], LIMIT);
    assert_eq!(inflated, Err(Fault::NotUtf8));
    assert_eq!(inflate(&packed), Ok(text));
    let cut = stored("é".as_bytes().split_at(1).0);
    let inflated = inflate_within(MessageKind::Text, &cut, &[], LIMIT);
    assert_eq!(
        inflated,
        Err(Fault::NotUtf8),
        "a code point is cut at the end"
    );
}

#[test]
fn what_does_not_become_shorter_is_left_alone() {
    let mut dice = crate::dice::Dice::new(1);
    let noise: Vec<u8> = (0..5_000).map(|_| dice.next_u64() as u8).collect();
    for len in [0, 1, 5, 100, 5_000] {
        assert_eq!(compress(PLAIN, &[], &noise[..len]), None, "{len}");
    }
}

#[test]
fn a_window_keeps_the_last_bytes_only() {
    let mut window = Window::default();
    window.push(&[1; 300], 9);
    window.push(&[2; 300], 9);
    assert_eq!(window.bytes(), [vec![1; 212], vec![2; 300]].concat());
    assert_eq!(window.capacity(), 512);
    window.push(&[3; 5_000], 9);
    assert_eq!(window.bytes(), [3; 512]);
}

#[test]
fn many_strengths_share_few_compressors() {
    let mut compressors = Compressors::default();
    let (message, mut out) = ([b'a'; 1_000], Vec::new());
    for window_bits in 9..=15 {
        for level in 1..=9 {
            let strength = Strength { level, window_bits };
            let packed = compressors.compress(strength, &[], &message, &mut out);
            assert_eq!(
                inflate(packed.expect("it is shorter")),
                Ok(message.to_vec())
            );
        }
    }
    assert!(format!("{compressors:?}").matches("Strength").count() <= 4);
}

proptest! {
    /// Messages of a connection with windows, as both sides keep them: what was left alone is kept by
    /// neither.
    #[test]
    fn any_messages_come_back_with_any_window(
        level in 1..=9u8,
        window_bits in 9..=15u8,
        messages in prop::collection::vec(
            (prop::collection::vec(0..4u8, 0..600), 1..200usize),
            1..6,
        ),
    ) {
        let strength = Strength { level, window_bits };
        let (mut sent, mut received) = (Window::default(), Window::default());
        for (pattern, count) in messages {
            let message = pattern.repeat(count);
            let Some(packed) = compress(strength, sent.bytes(), &message) else {
                continue;
            };
            prop_assert!(packed.len() < message.len());
            let kind = MessageKind::Binary;
            let inflated = inflate_within(kind, &packed, received.bytes(), LIMIT);
            prop_assert_eq!(inflated.map(|(message, _)| message), Ok(message.clone()));
            sent.push(&message, window_bits);
            received.push(&message, window_bits);
        }
    }

    #[test]
    fn no_input_panics_and_none_passes_the_limit(
        packed in prop::collection::vec(any::<u8>(), 0..300),
        window in prop::collection::vec(any::<u8>(), 0..100),
        limit in 1..10_000usize,
    ) {
        for kind in [MessageKind::Text, MessageKind::Binary] {
            if let Ok((message, _)) = inflate_within(kind, &packed, &window, limit) {
                prop_assert!(message.len() <= limit);
            }
        }
    }
}
