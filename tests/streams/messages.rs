//! Messages that `connect` prints: whoever asked for them gets them all, as fast as he reads.

use std::io::Write;
use std::net::TcpListener;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::Duration;

use crate::child::{Lines, Program, impatient_pipe};

const MIB: usize = 1 << 20;

/// Starts `connect` against a server that sends these lines, and hangs up once the sender is dropped;
/// returns, too, how many bytes it has got rid of.
fn connect_to(
    lines: Vec<Vec<u8>>,
    args: &[&str],
    stdout: Stdio,
) -> (Program, Arc<AtomicUsize>, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let (holder, held) = channel::<()>();
    thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        for line in lines {
            if peer
                .write_all(&line)
                .and_then(|()| peer.write_all(b"\n"))
                .is_err()
            {
                return;
            }
            count.fetch_add(line.len(), Ordering::Relaxed);
        }
        let _dropped = held.recv();
    });
    let mut all = vec![
        "connect",
        &url,
        "--no-reconnect",
        "--interval",
        "off",
        "--timeout",
        "off",
    ];
    all.extend(args);
    let program = Program::start(&all, [Stdio::null(), stdout, Stdio::null()]);
    (program, sent, holder)
}

/// Waits until nothing moves any more.
fn wait_still(count: &AtomicUsize) -> usize {
    let mut last = 0;
    loop {
        thread::sleep(Duration::from_millis(500));
        let now = count.load(Ordering::Relaxed);
        if now == last && now > 0 {
            return now;
        }
        last = now;
    }
}

#[test]
fn three_thousand_messages_all_reach_a_slow_reader() {
    // More than all the sockets between hold.
    all_arrive(&["--json"], 12_000);
    all_arrive(&[], 100);
}

/// Lets a server send messages of this size to a client whose output is not read for a while, and then
/// is.
fn all_arrive(args: &[&str], size: usize) {
    const COUNT: usize = 3_000;
    let filling = "x".repeat(size);
    let message = |number: usize| format!("{number} {filling}").into_bytes();
    let (reader, writer) = impatient_pipe();
    let (mut program, sent, holder) =
        connect_to((0..COUNT).map(message).collect(), args, writer.into());
    drop(holder);
    let taken = wait_still(&sent);
    if size > 10_000 {
        // The server feels it, and the messages are not in our memory either.
        assert!(taken < COUNT * size, "{taken}");
    }
    let lines = Lines::follow(reader);
    let mut next = 0;
    loop {
        let line = lines.next().expect("all of them");
        let is_loss = line.starts_with("dropped") || line.contains("\"event\":\"dropped\"");
        assert!(!is_loss, "{line}");
        if line.starts_with("{\"event\":\"message\"") || line.starts_with("< ") {
            assert!(
                line.contains(&format!("{next} {filling}")),
                "{next}: {line}"
            );
            next += 1;
        }
        if line.contains("summary") {
            break;
        }
    }
    assert_eq!((next, lines.next()), (COUNT, None));
    assert_eq!(program.wait_exit().code(), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn a_message_of_control_characters_costs_neither_memory_nor_output() {
    for (args, size, most_output) in [
        (&[][..], 16 * MIB, 2 * MIB),
        (&["--json"], 16 * MIB, 2 * MIB),
        (&["--json", "--whole"], 4 * MIB, 25 * MIB),
    ] {
        let flood = vec![b'\x1b'; size];
        let (reader, writer) = std::io::pipe().unwrap();
        let messages = [flood, b"after".to_vec()].to_vec();
        let (mut program, _, holder) = connect_to(messages, args, writer.into());
        let lines = Lines::follow(reader);
        let (mut output, mut is_shown) = (0, false);
        loop {
            let line = lines.next().expect("all of it");
            output += line.len();
            assert!(!line.contains(char::is_control));
            if line.len() > MIB {
                let is_cut = line.contains("--whole") || line.contains("\"shown\":");
                assert_ne!(is_cut, args.contains(&"--whole"));
                is_shown = true;
            }
            if line.contains("after") {
                break;
            }
        }
        assert!(is_shown);
        assert!(output < most_output, "{args:?}: {output}");
        let peak = program.peak_memory();
        assert!(peak < 16 * MIB + 3 * size, "{args:?}: {peak}");
        drop(holder);
        while lines.next().is_some() {}
        assert_eq!(program.wait_exit().code(), Some(0));
    }
}
