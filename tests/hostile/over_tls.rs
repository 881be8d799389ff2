//! Every case once more over TLS. This program runs itself again, with a relay between attackers and server.
//!
//! What attackers do to TLS itself is in `tests/records`.

use std::env;
use std::process::Command;

use crate::server::{OVER, TLS};

/// Those that are not run, and why.
const LEFT_OUT: [(&str, &str); 2] = [
    (
        "hoarders::large::ten_thousand_",
        "with the relay each takes three descriptors, of 20 000",
    ),
    (
        "output::f46_control_characters_of_peers_never_reach_the_terminal",
        "it starts a server of its own, which prints the same",
    ),
];

/// Those that are run without being asked for: one of each kind.
const ALWAYS: [&str; 2] = [
    "control::f18_a_ping_between_fragments_is_answered_at_once_and_the_message_is_whole",
    "ends::everything_at_once_and_gone_is_heard_to_its_end",
];

#[test]
fn a_few_cases_over_tls() {
    run(&[&["--exact"], &ALWAYS[..]].concat());
}

/// Runs cases in a process of their own.
fn run(args: &[&str]) {
    let mut command = Command::new(env::current_exe().unwrap());
    let output = command.args(args).env(OVER, TLS).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    println!("{said}");
}

/// Tests that take many descriptors.
mod large {
    use super::*;
    use crate::support::crowd::alone;

    #[test]
    #[ignore = "needs 6 000 descriptors and minutes: raise ulimit -Hn"]
    fn every_case_over_tls() {
        let _alone = alone();
        let mut args = vec!["--include-ignored", "--skip", "over_tls::"];
        for (name, why) in LEFT_OUT {
            println!("left out: {name}: {why}");
            args.extend(["--skip", name]);
        }
        run(&args);
    }
}
