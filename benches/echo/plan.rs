//! What the command line asks for.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use super::servers::Kind;

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) span: Duration,
    pub(crate) servers: Vec<Kind>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) is_test: bool,
    /// A part of the names of the points to measure.
    only: Option<String>,
}

impl Plan {
    pub(crate) fn parse(arguments: Vec<String>) -> io::Result<Self> {
        let mut plan = Self {
            rounds: 7,
            span: Duration::from_secs(1),
            servers: Kind::OWN.to_vec(),
            json: None,
            is_test: false,
            only: None,
        };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--test" => plan.is_test = true,
                // Cargo says so.
                "--bench" => {}
                option if option.starts_with("--") => {
                    let value = arguments.next();
                    plan.set(option, value.as_deref())
                        .ok_or_else(|| io::Error::other(format!("what is {option} {value:?}?")))?;
                }
                _ => plan.only = Some(argument),
            }
        }
        if plan.is_test {
            plan.rounds = 1;
            plan.span = Duration::from_millis(10);
        }
        Ok(plan)
    }

    fn set(&mut self, option: &str, value: Option<&str>) -> Option<()> {
        let value = value?;
        match option {
            "--rounds" => self.rounds = value.parse().ok().filter(|rounds| *rounds > 0)?,
            "--seconds" => {
                let span = Duration::try_from_secs_f64(value.parse().ok()?).ok()?;
                self.span = Some(span).filter(|span| *span <= LONGEST)?;
            }
            "--servers" => {
                self.servers = value.split(',').map(Kind::named).collect::<Option<_>>()?;
            }
            "--json" => self.json = Some(value.into()),
            _ => return None,
        }
        Some(())
    }

    pub(crate) fn asks_for(&self, point: &str) -> bool {
        self.only.as_ref().is_none_or(|part| point.contains(part))
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({ "rounds": self.rounds, "seconds": self.span.as_secs_f64() })
    }
}

/// The peer answers no pings: before a server would mind, the round is over.
const LONGEST: Duration = Duration::from_secs(10);
