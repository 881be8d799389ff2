//! `heartwheel check`: looks a configuration over, says what it costs and what is unwise about it.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use heartwheel::config::HeartbeatConfig;
use serde_json::{Value, json};

use crate::advice::{self, Finding};
use crate::certs::CertStore;
use crate::estimate::{Load, Machine, detection, grouped, in_units, load};
use crate::plan::Setup;
use crate::values::{count, micros, show_time};
use crate::{FAILED, Failure, config, stream};

/// Looks a configuration over: what is wrong, what each listener costs, and what is unwise
///
/// Nothing is opened, but certificates are read. The exit code is 2 if anything is wrong, and with --strict 1
/// if anything is unwise.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The configuration file, in TOML [default: what HEARTWHEEL_CONFIG names, if anything]
    file: Option<PathBuf>,

    /// How many connections to reckon with [default: those that there may be, at most 100000]
    #[arg(long, value_name = "N", value_parser = count)]
    connections: Option<usize>,

    /// Exit with 1 if anything is unwise
    #[arg(long)]
    strict: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Flags of serve that count too, behind --
    #[arg(last = true, value_name = "FLAGS OF SERVE")]
    flags: Vec<OsString>,
}

/// Runs the command.
pub(crate) fn run(args: &CheckArgs) -> Result<ExitCode, Failure> {
    let setup = config::read(args.file.clone(), &args.flags)?;
    let mut certs = CertStore::default();
    for plan in &setup.plans {
        certs.config(plan.certs.as_ref(), plan.flag, plan.wire)?;
    }
    let machine = Machine::find();
    let report = Report::new(&setup, &certs, &machine, args.connections);
    stream::print(match args.json {
        true => format!("{:#}\n", report.json()),
        false => report.text(),
    });
    Ok(match args.strict && report.findings() > 0 {
        true => ExitCode::from(FAILED),
        false => ExitCode::SUCCESS,
    })
}

/// What there is to say.
struct Report {
    connections: usize,
    machine: Machine,
    whole: Vec<Finding>,
    listeners: Vec<Listener>,
}

/// What there is to say of one listener.
struct Listener {
    name: String,
    heartbeat: HeartbeatConfig,
    detection: Option<Duration>,
    load: Load,
    findings: Vec<Finding>,
}

impl Report {
    fn new(
        setup: &Setup,
        certs: &CertStore,
        machine: &Machine,
        connections: Option<usize>,
    ) -> Self {
        let connections = connections.unwrap_or_else(|| setup.whole.max_connections.min(USUAL));
        let listeners = setup.plans.iter().map(|plan| Listener {
            name: plan.name(),
            heartbeat: plan.heartbeat.clone(),
            detection: detection(&plan.heartbeat, setup.whole.tick),
            load: load(plan, connections),
            findings: advice::of_listener(plan, certs, &setup.whole),
        });
        Self {
            connections,
            machine: *machine,
            listeners: listeners.collect(),
            whole: advice::of_whole(setup, machine, connections),
        }
    }

    fn findings(&self) -> usize {
        let of_listeners = self.listeners.iter().map(|one| one.findings.len());
        self.whole.len() + of_listeners.sum::<usize>()
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for one in &self.listeners {
            one.write(self.connections, &mut text);
            text.push('\n');
        }
        if !self.whole.is_empty() {
            text.push_str("the whole program\n");
            write_findings(&self.whole, &mut text);
            text.push('\n');
        }
        let machine = self.machine;
        let files = machine.open_files.map_or_else(
            || "open files without limit".to_owned(),
            |files| format!("{} open files a process", grouped(files)),
        );
        let memory = machine.memory.map_or_else(String::new, |memory| {
            format!(", {} of memory", in_units(memory as f64))
        });
        let said = match self.findings() {
            0 => "nothing is wrong, and nothing unwise".to_owned(),
            1 => "nothing is wrong; 1 thing is unwise".to_owned(),
            count => format!("nothing is wrong; {count} things are unwise"),
        };
        // Writing to a string does not fail.
        writeln!(text, "this machine: {files}{memory}\n{said}").ok();
        text
    }

    fn json(&self) -> Value {
        let listeners = self.listeners.iter().map(|one| {
            json!({
                "listener": one.name,
                "detection_us": one.detection.map(micros),
                "pings_per_second": one.load.pings,
                "bytes_per_second": one.load.bytes,
                "memory": one.load.memory,
                "findings": one.findings.iter().map(Finding::json).collect::<Vec<_>>(),
            })
        });
        json!({
            "connections": self.connections,
            "open_files": self.machine.open_files,
            "machine_memory": self.machine.memory,
            "listeners": listeners.collect::<Vec<_>>(),
            "findings": self.whole.iter().map(Finding::json).collect::<Vec<_>>(),
        })
    }
}

impl Listener {
    fn write(&self, connections: usize, text: &mut String) {
        let found = match (self.detection, self.heartbeat.interval) {
            (None, _) => "a peer that dies silently is kept, unless the kernel finds out".into(),
            (Some(time), Some(_)) => format!(
                "a peer that dies is found after at most {} of silence",
                show_time(time)
            ),
            (Some(time), None) => format!(
                "a peer is closed after at most {} of silence, dead or not",
                show_time(time)
            ),
        };
        let Load {
            pings,
            bytes,
            memory,
        } = self.load;
        let cost = format!(
            "{} idle connections: {} pings/s, {}/s on the wire, {} of memory",
            grouped(connections as u64),
            grouped(pings.round() as u64),
            in_units(bytes),
            in_units(memory as f64)
        );
        // Writing to a string does not fail.
        writeln!(text, "{}\n    {found}\n    {cost}", self.name).ok();
        write_findings(&self.findings, text);
    }
}

fn write_findings(findings: &[Finding], text: &mut String) {
    for finding in findings {
        writeln!(text, "    unwise: {}", finding.said).ok();
        writeln!(text, "            {}", finding.advice).ok();
    }
}

/// How many connections to reckon with, where more are allowed.
const USUAL: usize = 100_000;
