//! Lines on standard input.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Stdio;

use crate::child::{Lines, Program};
use crate::support::PATIENCE;

#[test]
fn an_input_that_has_nothing_yet_is_not_at_its_end() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&reader, true).unwrap();
    let (output, stdout) = std::io::pipe().unwrap();
    let args = [
        "connect",
        &url,
        "--json",
        "--interval",
        "off",
        "--timeout",
        "off",
    ];
    let mut program = Program::start(&args, [reader.into(), stdout.into(), Stdio::null()]);
    let lines = Lines::follow(output);
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    lines.wait_for("open");
    for word in ["one\n", "two\n"] {
        writer.write_all(word.as_bytes()).unwrap();
        let mut heard = [0; 4];
        peer.read_exact(&mut heard).expect("it is sent");
        assert_eq!(heard, word.as_bytes());
    }
    program.terminate();
    assert_eq!(lines.wait_for("summary")["messages_out"], 2);
    assert_eq!(program.wait_exit().code(), Some(0));
}

#[cfg(target_os = "linux")]
#[test]
fn a_line_without_an_end_costs_no_more_than_can_be_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", listener.local_addr().unwrap());
    let (reader, mut writer) = std::io::pipe().unwrap();
    let (errors, stderr) = std::io::pipe().unwrap();
    let mut args = vec!["connect", &url, "--interval", "off", "--timeout", "off"];
    args.extend(["--send-queue", "1MiB"]);
    let mut program = Program::start(&args, [reader.into(), Stdio::null(), stderr.into()]);
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let part = vec![b'x'; 1 << 20];
    for _ in 0..64 {
        writer.write_all(&part).unwrap();
    }
    writer.write_all(b"\nhello\n").unwrap();
    let mut heard = [0; 6];
    peer.read_exact(&mut heard).expect("the next line is sent");
    assert_eq!(&heard, b"hello\n");
    let peak = program.peak_memory();
    assert!(peak < 32 << 20, "{peak}");
    let log = Lines::follow(errors);
    while !log
        .next()
        .expect("it is told")
        .contains("not sent: the line is longer")
    {}
    program.terminate();
    assert_eq!(program.wait_exit().code(), Some(0));
}
