//! Servers made with libraries in other languages: programs that take the commands of this bench, and
//! count what every server counts but for its lateness, which the peers' gaps show.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::control::Process;
use super::subject::Order;
use super::uwebsockets::{self, run};

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

    /// Compiles it or, where nothing is compiled, makes sure that it can run.
    pub(crate) fn build(self) -> io::Result<()> {
        fs::create_dir_all(place())?;
        self.try_build().map_err(|error| {
            let (name, needs) = (self.name(), self.needs());
            io::Error::other(format!("{name} needs {needs}: {error}"))
        })
    }

    fn try_build(self) -> io::Result<()> {
        let mut command = match self {
            Self::NodeWs => find_ws(),
            Self::Gorilla => self.build_with_go(),
            Self::Libwebsockets => {
                let mut command = self.build_with_cc();
                command.args(["-lwebsockets", "-pthread"]);
                command
            }
            Self::Uwebsockets => return uwebsockets::build(&self.source(), &self.program()),
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
            Self::Gorilla | Self::Libwebsockets | Self::Uwebsockets => Command::new(self.program()),
        };
        let times = [order.interval, order.timeout];
        command.args(times.map(|time| time.as_millis().to_string()));
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

    /// What it is compiled to.
    fn program(self) -> PathBuf {
        place().join(self.name())
    }

    fn build_with_go(self) -> Command {
        let mut command = Command::new("go");
        command
            // Where Debian has its packages.
            .envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode")])
            .args(["build", "-o"])
            .args([self.program(), self.source()]);
        command
    }

    fn build_with_cc(self) -> Command {
        let mut command = Command::new("cc");
        command
            .args(["-O2", "-o"])
            .args([self.program(), self.source()]);
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
