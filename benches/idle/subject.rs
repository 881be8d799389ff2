//! What is measured: a server, and how it is to keep its heartbeats.

use std::fmt;
use std::io;
use std::time::Duration;

use super::control::Process;
use super::foreign::Foreign;
use super::{floor, ours, rivals};

/// Who serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Floor,
    Heartwheel,
    TokioTungstenite,
    Fastwebsockets,
    Foreign(Foreign),
}

impl Kind {
    /// Those that are part of this program.
    pub(crate) const OWN: [Self; 4] = [
        Self::Floor,
        Self::Heartwheel,
        Self::TokioTungstenite,
        Self::Fastwebsockets,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Heartwheel => "heartwheel",
            Self::TokioTungstenite => "tokio-tungstenite",
            Self::Fastwebsockets => "fastwebsockets",
            Self::Foreign(foreign) => foreign.name(),
        }
    }

    /// Says whether it can serve over TLS here.
    pub(crate) const fn has_tls(self) -> bool {
        match self {
            Self::Heartwheel | Self::TokioTungstenite => true,
            Self::Floor | Self::Fastwebsockets => false,
            Self::Foreign(foreign) => foreign.has_tls(),
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        let foreign = Foreign::ALL.map(Self::Foreign);
        let mut all = Self::OWN.into_iter().chain(foreign);
        all.find(|kind| kind.name() == name)
    }
}

/// A server with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) kind: Kind,
    /// How far a ping may be moved to share a wake-up; none is the server's own default.
    pub(crate) slack: Option<Duration>,
    /// Over TLS.
    pub(crate) is_secure: bool,
}

impl Subject {
    pub(crate) const fn plain(kind: Kind, slack: Option<Duration>) -> Self {
        Self {
            kind,
            slack,
            is_secure: false,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.kind.name();
        if self.is_secure {
            return write!(f, "{name}, TLS");
        }
        match (self.kind, self.slack) {
            (Kind::Floor, Some(Duration::ZERO)) => f.write_str(name),
            (Kind::Floor | Kind::Heartwheel, Some(slack)) => {
                write!(f, "{name}, slack {} ms", slack.as_millis())
            }
            (Kind::Heartwheel, None) => write!(f, "{name}, default slack"),
            _ => f.write_str(name),
        }
    }
}

/// What a server process is told when it starts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    pub(crate) subject: Subject,
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    /// Most connections.
    pub(crate) capacity: usize,
    /// Zero lets the system choose.
    pub(crate) port: u16,
}

impl Order {
    /// Starts the server process.
    pub(crate) fn start(self) -> io::Result<Process> {
        match self.subject.kind {
            Kind::Foreign(foreign) => foreign.start(self),
            _ => Process::start(&self.to_words()),
        }
    }

    fn to_words(self) -> Vec<String> {
        let millis = |time: Duration| time.as_millis().to_string();
        vec![
            "server".to_owned(),
            self.subject.kind.name().to_owned(),
            self.subject
                .slack
                .map_or_else(|| "default".to_owned(), millis),
            millis(self.interval),
            millis(self.timeout),
            self.capacity.to_string(),
            self.port.to_string(),
            self.subject.is_secure.to_string(),
        ]
    }

    pub(crate) fn from_words(words: &[String]) -> Option<Self> {
        let [kind, slack, interval, timeout, capacity, port, is_secure] = words else {
            return None;
        };
        let millis = |word: &String| word.parse().ok().map(Duration::from_millis);
        Some(Self {
            subject: Subject {
                kind: Kind::named(kind)?,
                slack: millis(slack),
                is_secure: is_secure.parse().ok()?,
            },
            interval: millis(interval)?,
            timeout: millis(timeout)?,
            capacity: capacity.parse().ok()?,
            port: port.parse().ok()?,
        })
    }

    pub(crate) fn serve(self) -> io::Result<()> {
        match self.subject.kind {
            Kind::Floor => floor::serve(self),
            Kind::Heartwheel => ours::serve(self),
            Kind::TokioTungstenite if self.subject.is_secure => {
                rivals::serve(self, rivals::hold_with_tungstenite_over_tls)
            }
            Kind::TokioTungstenite => rivals::serve(self, rivals::hold_with_tungstenite),
            Kind::Fastwebsockets => rivals::serve(self, rivals::hold_with_fastwebsockets),
            Kind::Foreign(_) => Err(io::Error::other("that is another program")),
        }
    }
}

/// Names of what every server counts: connections held, pings written, pongs read, connections that
/// ended, and, but for foreign ones, how late pings were written.
pub(crate) const HELD: &str = "held";
pub(crate) const WRITTEN: &str = "written";
pub(crate) const ANSWERED: &str = "answered";
pub(crate) const ENDED: &str = "ended";
pub(crate) const LATENESS: &str = "lateness";
