//! What the command line asks for.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::measure::Load;
use super::subject::Kind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Virtual,
    Dense,
    Sparse,
    Tls,
    Syscalls,
    Deaths,
    Many,
}

impl Stage {
    const ALL: [Self; 7] = [
        Self::Virtual,
        Self::Dense,
        Self::Sparse,
        Self::Tls,
        Self::Syscalls,
        Self::Deaths,
        Self::Many,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Virtual => "virtual",
            Self::Dense => "dense",
            Self::Sparse => "sparse",
            Self::Tls => "tls",
            Self::Syscalls => "syscalls",
            Self::Deaths => "deaths",
            Self::Many => "many",
        }
    }
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) stages: Vec<Stage>,
    pub(crate) dense: Load,
    pub(crate) sparse: Load,
    pub(crate) tls: Load,
    pub(crate) many: Load,
    /// Connections that one process has descriptors for.
    pub(crate) most: usize,
    pub(crate) pairs: usize,
    /// Who serves beside the floor.
    pub(crate) servers: Vec<Kind>,
    /// Who serves over TLS.
    pub(crate) tls_servers: Vec<Kind>,
    pub(crate) slacks: Vec<Duration>,
    /// Sessions on virtual time.
    pub(crate) sessions: usize,
    /// Connections that fall silent at once.
    pub(crate) deaths: usize,
    /// After which they are dead.
    pub(crate) silence: Duration,
    pub(crate) json: Option<PathBuf>,
    pub(crate) is_test: bool,
    /// What was typed.
    pub(crate) command: String,
}

impl Plan {
    /// `limit` is how many descriptors a process may have.
    pub(crate) fn parse(arguments: Vec<String>, limit: u64) -> io::Result<Self> {
        let is_test = arguments.iter().any(|argument| argument == "--test");
        let mut plan = if is_test { Self::small() } else { Self::full() };
        plan.command = format!("cargo bench --bench idle -- {}", arguments.join(" "));
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            if argument == "--test" {
                continue;
            }
            if let Some(stage) = Stage::ALL
                .into_iter()
                .find(|stage| stage.name() == argument)
            {
                plan.stages.push(stage);
                continue;
            }
            let value = arguments.next();
            plan.set(&argument, value.as_deref())
                .ok_or_else(|| io::Error::other(format!("what is {argument} {value:?}?")))?;
        }
        if plan.stages.is_empty() {
            let is_usual = |stage: &Stage| is_test || *stage != Stage::Many;
            plan.stages.extend(Stage::ALL.into_iter().filter(is_usual));
        }
        plan.fit(limit);
        Ok(plan)
    }

    fn full() -> Self {
        Self {
            stages: Vec::new(),
            dense: Load::new("dense", 18_000, 2).in_two_waves(),
            sparse: Load::new("sparse", 2_000, 4),
            tls: Load::new("tls", 4_500, 2).in_two_waves(),
            many: Load::new("many", 100_000, 10),
            most: 0,
            pairs: 5,
            servers: Kind::OWN.to_vec(),
            tls_servers: vec![Kind::Heartwheel, Kind::TokioTungstenite],
            slacks: [0, 10, 50, 250].map(Duration::from_millis).to_vec(),
            sessions: 100_000,
            deaths: 1_000,
            silence: Duration::from_secs(5),
            json: None,
            is_test: false,
            command: String::new(),
        }
    }

    /// Everything in seconds.
    fn small() -> Self {
        let brief = |load: Load| Load {
            interval: Duration::from_millis(200),
            window: Duration::from_millis(600),
            ..load
        };
        Self {
            dense: brief(Load::new("dense", 400, 1).in_two_waves()),
            sparse: brief(Load::new("sparse", 200, 1)),
            tls: brief(Load::new("tls", 200, 1).in_two_waves()),
            many: brief(Load::new("many", 600, 1)),
            pairs: 1,
            slacks: vec![Duration::from_millis(25)],
            sessions: 1_000,
            deaths: 100,
            silence: Duration::from_secs(2),
            is_test: true,
            ..Self::full()
        }
    }

    fn set(&mut self, option: &str, value: Option<&str>) -> Option<()> {
        let value = value?;
        let count = || value.parse::<usize>().ok().filter(|count| *count > 0);
        let secs = || {
            value
                .parse()
                .ok()
                .and_then(|secs| Duration::try_from_secs_f64(secs).ok())
        };
        match option {
            "--connections" => self.dense.connections = count()?,
            "--interval" => self.dense.interval = secs()?,
            "--sparse-connections" => self.sparse.connections = count()?,
            "--sparse-interval" => self.sparse.interval = secs()?,
            "--tls-connections" => self.tls.connections = count()?,
            "--tls-interval" => self.tls.interval = secs()?,
            "--tls-servers" => {
                self.tls_servers = value.split(',').map(Kind::named).collect::<Option<_>>()?;
                if !self.tls_servers.iter().all(|kind| kind.has_tls()) {
                    return None;
                }
            }
            "--many" => self.many.connections = count()?,
            "--many-interval" => self.many.interval = secs()?,
            "--seconds" => {
                for load in [
                    &mut self.dense,
                    &mut self.sparse,
                    &mut self.tls,
                    &mut self.many,
                ] {
                    load.window = secs()?;
                }
            }
            "--pairs" => self.pairs = count()?,
            "--servers" => {
                self.servers = value.split(',').map(Kind::named).collect::<Option<_>>()?;
                self.servers.retain(|kind| *kind != Kind::Floor);
                self.servers.insert(0, Kind::Floor);
            }
            "--slacks" => {
                let millis = value
                    .split(',')
                    .map(|word| word.parse().map(Duration::from_millis));
                self.slacks = millis.collect::<Result<_, _>>().ok()?;
            }
            "--json" => self.json = Some(value.into()),
            _ => return None,
        }
        Some(())
    }

    /// Asks for no more connections than a process may have descriptors.
    fn fit(&mut self, limit: u64) {
        let most = usize::try_from(limit)
            .unwrap_or(usize::MAX)
            .saturating_sub(SPARE);
        for load in [&mut self.dense, &mut self.sparse, &mut self.tls] {
            load.connections = load.connections.min(most);
        }
        self.most = most;
        println!(
            "a process may have {limit} descriptors: one holds {} connections where {} are meant, and figures are \
             for each; several hold {} (stage `many`)",
            self.dense.connections, self.sessions, self.many.connections,
        );
    }

    pub(crate) fn to_json(&self) -> Value {
        let millis: Vec<_> = self.slacks.iter().map(Duration::as_millis).collect();
        let stages: Vec<_> = self.stages.iter().map(|stage| stage.name()).collect();
        json!({
            "command": self.command, "stages": stages, "pairs": self.pairs, "slacks_ms": millis,
        })
    }
}

/// Descriptors for other things than connections.
const SPARE: usize = 64;
