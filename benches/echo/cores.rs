//! A core for the server and one for the peer, so that neither is moved about or waits for the other.

use std::fmt;
use std::io;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};

/// Where server and peer run.
#[derive(Debug)]
pub(crate) enum Cores {
    /// Wherever the kernel puts them: there is one core for both.
    Shared,
    Own {
        server: usize,
        peer: usize,
    },
}

impl Cores {
    /// Takes the first two cores that this process may use, and goes to the peer's.
    pub(crate) fn choose() -> io::Result<Self> {
        let usable = sched_getaffinity(None)?;
        let mut usable = (0..CpuSet::MAX_CPU).filter(|core| usable.is_set(*core));
        let (Some(server), Some(peer)) = (usable.next(), usable.next()) else {
            return Ok(Self::Shared);
        };
        go_to(peer)?;
        Ok(Self::Own { server, peer })
    }

    /// Starts a server on its core. A process begins, with all of its threads, where its parent is.
    pub(crate) fn place_server<T>(&self, start: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match *self {
            Self::Shared => start(),
            Self::Own { server, peer } => {
                go_to(server)?;
                let started = start();
                go_to(peer)?;
                started
            }
        }
    }

    pub(crate) fn to_json(&self) -> Value {
        match self {
            Self::Shared => Value::Null,
            Self::Own { server, peer } => json!({ "server": server, "peer": peer }),
        }
    }
}

impl fmt::Display for Cores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared => write!(f, "server and peer share a core"),
            Self::Own { server, peer } => {
                write!(f, "servers run on core {server}, their peer on core {peer}")
            }
        }
    }
}

fn go_to(core: usize) -> io::Result<()> {
    let mut only = CpuSet::new();
    only.set(core);
    Ok(sched_setaffinity(None, &only)?)
}
