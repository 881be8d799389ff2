//! 100 000 idle connections, and what each of them costs.
//!
//! `cargo bench --bench idle` runs, in this order, or only those stages that are named:
//!
//! - `virtual`: 100 000 connections of the loop on virtual time, with peers in memory; criterion's iteration
//!   is a simulated minute of heartbeats.
//! - `dense`: as many connections on loopback as one process may have descriptors for, at most 18 000,
//!   pinged every 2 s. Server and peers are processes of their own. Beside heartwheel serve a bare floor,
//!   tokio-tungstenite and fastwebsockets, in turns, so that whatever else the machine does meets all
//!   alike. Servers in other languages join when named.
//! - `sparse`: 2 000 connections pinged every 4 s, where wake-ups are what costs; heartwheel with several
//!   slacks.
//! - `tls`: 4 500 connections over TLS 1.3 with ECDSA P-256, pinged every 2 s: heartwheel, and
//!   tokio-tungstenite with tokio-rustls, beside heartwheel without TLS, which is what ratios refer to.
//! - `syscalls`: the system calls of a round trip, counted by strace.
//! - `deaths`: of many connections 1 000 fall silent at once, and each must be found out in time.
//! - `many`: 100 000 connections, as several server processes on one port. Only when named, and it fails
//!   where fewer are held.
//!
//! Options, with their defaults: `--connections 18000`, `--interval 2` and `--sparse-connections 2000`,
//! `--sparse-interval 4`, `--tls-connections 4500`, `--tls-interval 2`, `--seconds 8` for each run, `--pairs
//! 5`, `--servers floor,heartwheel,tokio-tungstenite,fastwebsockets` for `dense`, `--tls-servers
//! heartwheel,tokio-tungstenite` for `tls`, `--slacks 0,10,50,250` (ms), `--many 100000`, `--many-interval
//! 10`, `--json FILE` for everything that was measured, to be plotted. `--test` runs all of it small, and
//! checks what can be.
//!
//! `--servers` and `--tls-servers` may also name these, which are compiled first; what one of them needs is
//! named when it is missing. Each is one small file in `benches/idle/foreign`, on one thread, with small
//! buffers. They do not tell how late their pings are: the gaps that their peers see show that.
//!
//! - `node-ws`: Node with its package `ws`, an interval for each connection.
//! - `gorilla`: Go with gorilla/websocket, two goroutines, a ticker and deadlines for each connection.
//! - `libwebsockets`: C on libuv. It keeps timers in a list that it walks to add one, so that thousands
//!   would be all there is to see: a single timer serves all connections, and its own are switched off. Not
//!   over TLS.
//! - `uwebsockets`: C++ with uWebSockets, from the source in the crate `libuwebsockets-sys`, over TLS with
//!   OpenSSL. A timer of its own would be a descriptor: here too a single one serves all.
//!
//! The single timers come every 10 ms, so that the pings of one tick share a wake-up: what compares with
//! them is the floor with a slack of 5 ms.
//!
//! `cargo bench --bench idle -- page FILE` measures nothing: it draws a picture of that JSON beside it, and
//! writes its tables into the README.
//!
//! A round trip is a ping answered. Wall time would only measure the interval, so criterion is given the
//! processor time of the server process for each, second by second. Memory is the growth of the server's
//! resident set while most connections arrive, divided by their number. On a busy machine let all of it go
//! ahead of everything else: `chrt -f 1 cargo bench ...`.

#![allow(clippy::unwrap_used, missing_docs, reason = "a bench")]

#[cfg(target_os = "linux")]
#[path = "idle/mod.rs"]
mod idle;

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    idle::main()
}

#[cfg(not(target_os = "linux"))]
fn main() {
    println!("the floor stands on epoll: this bench is for Linux");
}
