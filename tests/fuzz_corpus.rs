//! Runs what the fuzz targets check over the saved corpus, and over seeded mutations of it.
#![cfg(feature = "websocket")]
#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod fuzzing;

use std::fs;
use std::path::Path;

use fuzzing::dice::Dice;

/// Runs a target over its corpus, each file and then mutations of it.
fn run(name: &str, target: fn(&[u8])) {
    run_so_often(name, target, MUTATIONS);
}

fn run_so_often(name: &str, target: fn(&[u8]), mutations: u64) {
    let corpus = corpus(name);
    for (file, data) in &corpus {
        eprintln!("{file}");
        target(data);
    }
    for seed in 0..mutations {
        let mut dice = Dice::new(seed);
        let data = mutation(&corpus, &mut dice);
        eprintln!("seed {seed}: {}", data.escape_ascii());
        target(&data);
    }
}

const MUTATIONS: u64 = 2_000;

fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(name);
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files.sort_unstable();
    files
}

/// Changes a file of the corpus here and there, or makes something out of nothing.
fn mutation(corpus: &[(String, Vec<u8>)], dice: &mut Dice) -> Vec<u8> {
    let mut data = match dice.index(10) {
        0 => Vec::new(),
        _ => corpus[dice.index(corpus.len())].1.clone(),
    };
    for _ in 0..=dice.index(8) {
        mutate(&mut data, corpus, dice);
    }
    data
}

fn mutate(data: &mut Vec<u8>, corpus: &[(String, Vec<u8>)], dice: &mut Dice) {
    let at = dice.index(data.len() + 1);
    let until = at + dice.index(data.len() - at + 1);
    let byte = dice.byte();
    match dice.index(6) {
        0 if at < data.len() => data[at] ^= 1 << dice.index(8),
        1 if at < data.len() => data[at] = byte,
        2 => drop(data.drain(at..until.min(at + 8))),
        3 => {
            let copy = data[at..until].to_vec();
            data.splice(at..at, copy);
        }
        4 => {
            let other = &corpus[dice.index(corpus.len())].1;
            let from = dice.index(other.len() + 1);
            data.splice(at.., other[from..].iter().copied());
        }
        _ => data.insert(at, byte),
    }
}

#[test]
fn websocket_frames_are_decoded_alike_however_they_are_cut_and_by_whom() {
    run("websocket_decode", fuzzing::websocket_decode);
}

#[test]
fn well_formed_websocket_frames_are_decoded_alike_too() {
    run("websocket_frames", fuzzing::websocket_frames);
}

#[test]
fn requests_are_parsed_alike_however_they_are_cut() {
    run("handshake_server", fuzzing::handshake_server);
}

#[test]
fn responses_are_parsed_alike_however_they_are_cut() {
    run("handshake_client", fuzzing::handshake_client);
}

#[cfg(feature = "deflate")]
#[test]
fn nothing_is_agreed_on_that_was_not_configured() {
    run("deflate_handshake", fuzzing::deflate_handshake);
}

#[cfg(feature = "deflate")]
#[test]
fn compressed_messages_are_inflated_alike_however_they_are_cut() {
    run("deflate_messages", fuzzing::deflate_messages);
}

#[test]
fn lines_are_decoded_alike_however_they_are_cut() {
    run("line", fuzzing::line);
}

#[test]
fn lines_of_a_codec_are_decoded_alike_however_they_are_cut() {
    run("line_codec", fuzzing::line_codec);
}

#[test]
fn binary_frames_are_decoded_alike_however_they_are_cut() {
    run("binary", fuzzing::binary);
}

#[test]
fn headers_of_proxies_are_read_alike_however_they_are_cut() {
    run("proxy_header", fuzzing::proxy_header);
}

/// Each begins with a handshake, which takes long in a debug build.
#[cfg(feature = "tls")]
#[test]
fn tls_loses_and_invents_nothing_whatever_happens_on_the_way() {
    run_so_often("tls", fuzzing::tls, MUTATIONS / 10);
}

#[test]
fn what_a_proxy_says_is_read_alike_however_it_is_cut() {
    run("tunnel", fuzzing::tunnel);
}

#[test]
fn sessions_keep_their_promises_whatever_happens() {
    run("session", fuzzing::session);
}
