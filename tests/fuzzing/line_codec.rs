//! The lines of a codec: however the bytes are cut, and beside a reading of the whole text at once.

use heartwheel::error::ProtocolError;
use heartwheel::proto::codec::{Codec, Decoded};
use heartwheel::proto::line_codec::{Beat, LineCodec, LineEnd, LineFormat};
use heartwheel::proto::wire::MessageKind;

use super::dice::Dice;

/// What a line is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    Line(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Option<u32>),
    TooLong,
}

/// Arbitrary bytes as lines: format, cuts, and the stream.
pub fn line_codec(data: &[u8]) {
    let Some(([format, seed], stream)) = data.split_first_chunk() else {
        return;
    };
    let format = LineFormat {
        end: [LineEnd::Lf, LineEnd::CrLf][usize::from(format & 1)],
        max_line: [0, 3, 9, 1_000][usize::from(format >> 1 & 3)],
        beat: [
            None,
            Some(Beat::plain("P", "Q")),
            Some(Beat::numbered("HB", "HB-ACK")),
            Some(Beat::numbered("", "")),
        ][usize::from(format >> 3 & 3)]
        .clone(),
    };
    let whole = decode(&format, stream, &[stream.len()]);
    let mut dice = Dice::new(u64::from(*seed));
    let mut cuts: Vec<_> = (0..8).map(|_| dice.index(stream.len() + 1)).collect();
    cuts.sort_unstable();
    cuts.push(stream.len());
    assert_eq!(decode(&format, stream, &cuts), whole);
    let each: Vec<_> = (1..=stream.len()).collect();
    assert_eq!(decode(&format, stream, &each), whole);
    assert_eq!(whole, read(&format, stream));
    for found in &whole {
        check_encoding(&format, found);
    }
}

/// Decodes what has come at each cut.
fn decode(format: &LineFormat, stream: &[u8], cuts: &[usize]) -> Vec<Found> {
    let mut codec = LineCodec::new(format.clone());
    let (mut at, mut found) = (0, Vec::new());
    for &cut in cuts {
        loop {
            let input = &stream[at..cut];
            let mut out = Vec::new();
            let decoded = codec.decode(input, &mut out);
            assert!(out.is_empty(), "it answers nothing by itself");
            let (consumed, one) = match decoded {
                Ok(Decoded::NeedMore) => break,
                Ok(Decoded::Message {
                    consumed, payload, ..
                }) => (consumed, Found::Line(input[payload].to_vec())),
                Ok(Decoded::Ping { consumed, payload }) => {
                    (consumed, Found::Ping(input[payload].to_vec()))
                }
                Ok(Decoded::Pong { consumed, token }) => (consumed, Found::Pong(token)),
                Err(ProtocolError::MessageTooBig { .. }) => {
                    found.push(Found::TooLong);
                    return found;
                }
                other => panic!("{other:?}"),
            };
            assert!(consumed > 0 && consumed <= input.len());
            at += consumed;
            found.push(one);
        }
    }
    found
}

/// Reads all lines at once.
fn read(format: &LineFormat, stream: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    let mut lines: Vec<_> = stream.split(|&byte| byte == b'\n').collect();
    let rest = lines.pop().unwrap_or_default();
    let bare = |line: &'_ [u8]| line.len() - usize::from(line.ends_with(b"\r"));
    for line in lines {
        let line = &line[..bare(line)];
        if line.len() > format.max_line {
            found.push(Found::TooLong);
            return found;
        }
        found.push(kind_of(format, line));
    }
    if bare(rest) > format.max_line {
        found.push(Found::TooLong);
    }
    found
}

fn kind_of(format: &LineFormat, line: &[u8]) -> Found {
    let text = String::from_utf8_lossy(line);
    let (ping, pong, is_numbered) = match &format.beat {
        None => return Found::Line(line.to_vec()),
        Some(beat) if *beat == Beat::plain("P", "Q") => ("P", "Q", false),
        Some(beat) if *beat == Beat::numbered("", "") => (" ", " ", true),
        Some(_) => ("HB ", "HB-ACK ", true),
    };
    if !is_numbered {
        return match &*text {
            "P" => Found::Ping(Vec::new()),
            "Q" => Found::Pong(None),
            _ => Found::Line(line.to_vec()),
        };
    }
    if let Some(number) = text.strip_prefix(pong) {
        return Found::Pong(number.trim_start().parse().ok());
    }
    match text.starts_with(ping) {
        true => Found::Ping(line[ping.len() - 1..].to_vec()),
        false => Found::Line(line.to_vec()),
    }
}

/// What is sent is what was read.
fn check_encoding(format: &LineFormat, found: &Found) {
    let Found::Line(line) = found else { return };
    let (mut codec, mut out) = (LineCodec::new(format.clone()), Vec::new());
    let encoded = codec.encode(MessageKind::Text, line, &mut out);
    assert_eq!(encoded.is_ok(), std::str::from_utf8(line).is_ok());
    if encoded.is_ok() {
        let again = decode(format, &out, &[out.len()]);
        assert_eq!(again, std::slice::from_ref(found));
    }
}
