//! Echo over loopback, beside other servers.
//!
//! `cargo bench --bench echo`, or with options and a part of a point's name:
//! `cargo bench --bench echo -- --rounds 9 --seconds 0.5 "16 KiB"`
//!
//! Heartwheel serves in two ways: `heartwheel` is the library with a handler of one line, `heartwheel
//! serve` the program, whose own bookkeeping counts. Beside them serve tokio-tungstenite, fastwebsockets
//! and sockudo-ws, each as its project's own example has it. `--servers "heartwheel serve,uwebsockets"`
//! names others: `uwebsockets` is compiled first, from the source in the crate `libuwebsockets-sys`, and
//! needs a compiler for C++.
//!
//! Two points are of text like JSON that goes compressed both ways (permessage-deflate), no message referring
//! to another. There sockudo-ws serves with its shared pool, uWebSockets with its shared compressor, each
//! with its own level, and who cannot do it is left out. The bytes of an answer say what that saves.
//!
//! Each server is a process of its own with one thread. One peer, which uses none of the libraries,
//! drives them in turns, round by round, so that whatever else the machine does meets all of them alike;
//! each round has a fresh server, which it warms up for half its time. What is printed is the median of
//! the rounds with the least and the most: messages a second, and processor time of the server for each;
//! then how far heartwheel is ahead in both: the program, or the library where the program is not asked
//! for. Above 1 it is.
//!
//! Where this process may use two cores or more, the first is the server's and the second the peer's;
//! `taskset -c 2,3 cargo bench ...` chooses them. On a busy machine let one core have it all, ahead of
//! everything else: `taskset -c 1 chrt -f 1 cargo bench ...`. Then a message's time is that of the server
//! and of the peer together.
//!
//! Options, with their defaults: `--rounds 7`, `--seconds 1` for each, `--servers
//! "heartwheel,heartwheel serve,tokio-tungstenite,fastwebsockets,sockudo-ws"`, `--json FILE` for
//! everything that was measured. `--test` runs all of it small.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

#[cfg(target_os = "linux")]
#[path = "echo/mod.rs"]
mod echo;

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    echo::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("cores and their time are asked of Linux: this bench is for it");
}
