//! Servers made with libraries in other languages: programs that take the commands of this bench, and
//! count what every server counts but for its lateness, which the peers' gaps show.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::control::Process;
use super::secure;
use super::subject::Order;
use super::uwebsockets::{self, Part, run};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Foreign {
    NodeWs,
    Gorilla,
    Libwebsockets,
    Uwebsockets,
}

impl Foreign {
    pub(crate) const ALL: [Self; 4] = [
        Self::NodeWs,
        Self::Gorilla,
        Self::Libwebsockets,
        Self::Uwebsockets,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NodeWs => "node-ws",
            Self::Gorilla => "gorilla",
            Self::Libwebsockets => "libwebsockets",
            Self::Uwebsockets => "uwebsockets",
        }
    }

    pub(crate) const fn has_tls(self) -> bool {
        match self {
            Self::NodeWs | Self::Gorilla | Self::Uwebsockets => true,
            Self::Libwebsockets => false,
        }
    }

    /// Compiles it or, where nothing is compiled, makes sure that it can run.
    pub(crate) fn build(self, is_secure: bool) -> io::Result<()> {
        fs::create_dir_all(place())?;
        self.try_build(is_secure).map_err(|error| {
            let (name, needs) = (self.name(), self.needs());
            io::Error::other(format!("{name} needs {needs}: {error}"))
        })
    }

    fn try_build(self, is_secure: bool) -> io::Result<()> {
        let mut command = match self {
            Self::NodeWs => find_ws(),
            Self::Gorilla => self.build_with_go(),
            Self::Libwebsockets => {
                let mut command = self.build_with_cc();
                command.args(["-lwebsockets", "-pthread"]);
                command
            }
            Self::Uwebsockets => {
                let program = self.program(is_secure);
                let parts = if is_secure { &[Part::Tls][..] } else { &[] };
                return uwebsockets::build(&self.source(), &program, parts);
            }
        };
        run(&mut command)?;
        Ok(())
    }

    pub(crate) fn start(self, order: Order) -> io::Result<Process> {
        let mut command = match self {
            Self::NodeWs => {
                let mut command = Command::new("node");
                command.arg(self.source()).env("PEER_PACKAGES", packages());
                command
            }
            Self::Gorilla | Self::Libwebsockets | Self::Uwebsockets => {
                Command::new(self.program(order.subject.is_secure))
            }
        };
        let times = [order.interval, order.timeout];
        command.args(times.map(|time| time.as_millis().to_string()));
        if order.subject.is_secure {
            command.args([secure::certificate(), secure::key()]);
        }
        Process::spawn(&mut command)
    }

    const fn needs(self) -> &'static str {
        match self {
            Self::NodeWs => "the package nodejs and what `bash tests/peers/install` installs",
            Self::Gorilla => "the packages golang-go and golang-github-gorilla-websocket-dev",
            Self::Libwebsockets => "the packages gcc, libc6-dev and libwebsockets-dev",
            Self::Uwebsockets => uwebsockets::NEEDS,
        }
    }

    fn source(self) -> PathBuf {
        let file = match self {
            Self::NodeWs => "node_ws.mjs",
            Self::Gorilla => "gorilla.go",
            Self::Libwebsockets => "libwebsockets.c",
            Self::Uwebsockets => "uwebsockets.cpp",
        };
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("benches/idle/foreign")
            .join(file)
    }

    /// What it is compiled to. One of them is another program over TLS.
    fn program(self, is_secure: bool) -> PathBuf {
        match (self, is_secure) {
            (Self::Uwebsockets, true) => place().join("uwebsockets-tls"),
            _ => place().join(self.name()),
        }
    }

    fn build_with_go(self) -> Command {
        let mut command = Command::new("go");
        command
            // Where Debian has its packages.
            .envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode")])
            .args(["build", "-o"])
            .args([self.program(false), self.source()]);
        command
    }

    fn build_with_cc(self) -> Command {
        let mut command = Command::new("cc");
        command
            .args(["-O2", "-o"])
            .args([self.program(false), self.source()]);
        command
    }
}

fn place() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("foreign")
}

/// Where `tests/peers/install` puts packages.
fn packages() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers")
}

fn find_ws() -> Command {
    let mut command = Command::new("node");
    let resolve = "require('module').createRequire(process.env.PEER_PACKAGES + '/')('ws')";
    command
        .args(["--eval", resolve])
        .env("PEER_PACKAGES", packages());
    command
}
