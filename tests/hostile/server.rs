//! The server under attack. With `HOSTILE_OVER=tls` its listeners speak TLS, and attackers, who do not, come
//! to it through a relay.

use std::env;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::process::Command;

use heartwheel::WireKind;
use serde_json::Value;

use crate::relay::open_door;
use crate::support::Wire;
use crate::support::process::Process;
use crate::support::program;
use crate::support::secure::{self, Files};

/// A server that reports in JSON.
pub(crate) struct Server {
    server: program::Server,
    /// Where attackers find each listener, if that is not where it listens.
    doors: Vec<(&'static Listener, u16)>,
}

impl Server {
    /// Starts it with a listener for each of the wires.
    pub(crate) fn start(wires: &[Wire], args: &[&str]) -> Self {
        Self::start_by(wires, args, program::Server::start)
    }

    /// Starts it as the command of another program, which must run it in its own place.
    pub(crate) fn start_under(other: Command, wires: &[Wire], args: &[&str]) -> Self {
        let start =
            |wires: &[Wire], args: &[&str]| program::Server::start_under(other, wires, args);
        Self::start_by(wires, args, start)
    }

    fn start_by(
        wires: &[Wire],
        args: &[&str],
        start: impl FnOnce(&[Wire], &[&str]) -> program::Server,
    ) -> Self {
        if !is_over_tls() {
            let (server, doors) = (start(wires, args), Vec::new());
            return Self { server, doors };
        }
        let files = Files::new();
        files.issue("server", &[NAME]);
        let flags = files.flags("server");
        let mut all: Vec<&str> = flags.iter().map(String::as_str).collect();
        let mut asked = Vec::new();
        for wire in wires {
            asked.push(Listener::of(wire.listener()).unwrap());
            all.extend([asked.last().unwrap().secure_flag, "127.0.0.1:0"]);
        }
        for &arg in args {
            let listener = Listener::of(arg);
            asked.extend(listener);
            all.push(listener.map_or(arg, |listener| listener.secure_flag));
        }
        let server = start(&[], &all);
        let open = |listener: &'static Listener| {
            let tls = files.client(listener.kind).config().unwrap();
            let addr = secure::addr(server.process(), listener.secure_label);
            (listener, open_door(addr, &tls, NAME))
        };
        let doors = asked.into_iter().map(open).collect();
        Self { server, doors }
    }

    pub(crate) fn process_mut(&mut self) -> &mut Process {
        self.server.process_mut()
    }

    /// Returns the port at which attackers find a wire.
    pub(crate) fn port(&self, wire: Wire) -> u16 {
        self.port_of(wire.label())
    }

    /// The same by the name that the wire has in events.
    pub(crate) fn port_of(&self, label: &str) -> u16 {
        let is_it = |(listener, _): &&(&Listener, u16)| listener.label == label;
        match self.doors.iter().find(is_it) {
            Some((_, port)) => *port,
            None => self.own_port(label),
        }
    }

    pub(crate) fn addr(&self, wire: Wire) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port(wire)).into()
    }

    /// Returns the port on which it listens itself.
    pub(crate) fn own_port(&self, label: &str) -> u16 {
        let listener = LISTENERS.iter().find(|listener| listener.label == label);
        let label = match self.doors.is_empty() {
            true => label,
            false => listener.unwrap().secure_label,
        };
        secure::addr(self.process(), label).port()
    }

    /// Ends it and returns its summary.
    pub(crate) fn finish(self) -> Value {
        self.server.finish()
    }
}

impl Deref for Server {
    type Target = program::Server;

    fn deref(&self) -> &program::Server {
        &self.server
    }
}

/// Says whether all that is said goes through TLS.
pub(crate) fn is_over_tls() -> bool {
    env::var_os(OVER).is_some_and(|way| way == TLS)
}

/// A kind of listener, and the same over TLS.
struct Listener {
    kind: WireKind,
    flag: &'static str,
    label: &'static str,
    secure_flag: &'static str,
    secure_label: &'static str,
}

impl Listener {
    fn of(flag: &str) -> Option<&'static Self> {
        LISTENERS.iter().find(|listener| listener.flag == flag)
    }
}

const LISTENERS: [Listener; 4] = [
    Listener {
        kind: WireKind::WebSocket,
        flag: "--ws",
        label: "ws",
        secure_flag: "--wss",
        secure_label: "wss",
    },
    Listener {
        kind: WireKind::Line,
        flag: "--tcp",
        label: "tcp",
        secure_flag: "--tls-tcp",
        secure_label: "tcps",
    },
    Listener {
        kind: WireKind::Binary,
        flag: "--tcp-binary",
        label: "tcp+binary",
        secure_flag: "--tls-tcp-binary",
        secure_label: "tcps+binary",
    },
    Listener {
        kind: WireKind::Raw,
        flag: "--tcp-raw",
        label: "tcp+raw",
        secure_flag: "--tls-tcp-raw",
        secure_label: "tcps+raw",
    },
];

/// The variable that says how attackers come, and what it must be for TLS.
pub(crate) const OVER: &str = "HOSTILE_OVER";
pub(crate) const TLS: &str = "tls";

/// The name in its certificate.
const NAME: &str = "server.test";
