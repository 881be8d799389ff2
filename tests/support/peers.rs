//! Clients and servers that others wrote, each in a process of its own.

use std::process::Command;

use super::process::Process;
use super::tools;

/// A client that takes the commands `echo` and `close` on its input and tells what happens in JSON.
pub(crate) fn python_websockets(url: &str) -> Process {
    Process::spawn(tools::python("websockets_client.py").arg(url), "")
}

/// The same with Node's `ws`.
pub(crate) fn node_ws(url: &str) -> Process {
    Process::spawn(tools::node("ws_client.mjs").arg(url), "")
}

/// The same over plain TCP on the binary wire.
pub(crate) fn raw_tcp_script(port: u16) -> Process {
    Process::spawn(tools::python("binary_client.py").arg(port.to_string()), "")
}

/// `nc`, with nobody at its keyboard yet. Its output ends when its input does.
pub(crate) fn netcat(port: u16) -> Process {
    let mut command = Command::new("nc");
    command.args(["-N", "127.0.0.1", &port.to_string()]);
    Process::spawn(&mut command, "install the package netcat-openbsd")
}

/// A server that echoes and pings, made with Python's `websockets`.
pub(crate) fn python_websockets_server() -> Process {
    Process::spawn(&mut tools::python("websockets_server.py"), "")
}

/// A server that echoes and pings, made with Node's `ws`.
pub(crate) fn node_ws_server() -> Process {
    Process::spawn(&mut tools::node("ws_server.mjs"), "")
}
