//! The `heartwheel` program: turns the command line into configuration. Each command has one file.

mod admin;
mod advice;
mod args;
mod certs;
mod check;
mod config;
mod connect;
mod estimate;
mod explain;
mod fan_out;
mod flags;
mod health;
mod input;
mod journal;
mod listening;
mod machine;
mod memory;
mod operate;
mod output;
mod plan;
mod proxy;
mod record;
mod reload;
#[cfg(test)]
#[path = "../../../tests/support/certs.rs"]
mod samples;
mod serve;
mod settings;
mod shards;
mod shown;
mod signals;
mod steps;
mod stream;
mod text;
mod trust;
mod unsent;
mod usage;
mod values;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::fmt;
use std::io::Write;
use std::panic::{self, PanicHookInfo};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use heartwheel::error::{ConfigError, Error};
use humantime::format_rfc3339_millis;
use log::{Level, LevelFilter};

use crate::settings::Fault;
use crate::stream::{LAST_MOMENT, LogLines};
use crate::values::escape;

/// Holds very many TCP and WebSocket connections, checks each peer with heartbeats and reports why
/// each connection ended.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<args::ServeArgs>),
    Connect(Box<connect::ConnectArgs>),
    Check(check::CheckArgs),
    Config(config::ConfigArgs),
    Conns(operate::ConnsArgs),
    Conn(operate::ConnArgs),
    Closed(operate::ClosedArgs),
    Kick(operate::KickArgs),
    Drain(operate::DrainArgs),
    Reload(operate::ReloadArgs),
    Explain(explain::ExplainArgs),
}

fn main() -> ExitCode {
    panic::set_hook(Box::new(tell_panic));
    let code = run();
    finish_errors();
    code
}

fn run() -> ExitCode {
    let parsed = Cli::command().try_get_matches();
    let parsed = parsed.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return usage::refuse(&error),
    };
    if let Err(error) = signals::bear_full_files() {
        complain(format_args!(
            "warning: when the log file reaches its size limit, the program may be killed: {error}"
        ));
    }
    let ended = match cli.command {
        Command::Serve(args) => {
            let (_, matches) = matches.subcommand().expect("a command was parsed");
            serve::run(&args, matches)
        }
        Command::Check(args) => check::run(&args),
        Command::Config(args) => config::run(&args),
        Command::Conns(args) => args.run(),
        Command::Conn(args) => args.run(),
        Command::Closed(args) => args.run(),
        Command::Kick(args) => args.run(),
        Command::Drain(args) => args.run(),
        Command::Reload(args) => args.run(),
        Command::Explain(args) => explain::run(&args),
        Command::Connect(args) => connect::run(&args),
    };
    match ended {
        Ok(code) => code,
        Err(failure) => {
            complain(format_args!("error: {failure}"));
            ExitCode::from(failure.code)
        }
    }
}

/// Why a command failed: a line for the user and a code for the caller.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// An operation that should work has failed.
    fn failed(message: impl Into<String>) -> Self {
        Self {
            code: FAILED,
            message: message.into(),
        }
    }

    /// The command line makes no sense.
    fn usage(message: impl Into<String>) -> Self {
        Self {
            code: USAGE,
            message: message.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.message))
    }
}

impl Failure {
    /// Says all that is wrong with a configuration but the last, which is returned.
    fn of_faults(mut faults: Vec<Fault>) -> Self {
        let last = faults.pop();
        for fault in faults {
            complain(format_args!("error: {}", escape(&fault.to_string())));
        }
        Self::usage(last.map_or_else(String::new, |fault| fault.to_string()))
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::usage(fault.to_string())
    }
}

/// Names the flag: flags are called as the fields they set.
impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let flag = error.field().replace('_', "-");
        Self::usage(format!("--{flag} {}", error.reason()))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Config(error) => error.into(),
            error => Self::failed(error.to_string()),
        }
    }
}

/// Writes a line to standard error, without waiting for its reader.
fn complain(line: fmt::Arguments<'_>) {
    if let Some(errors) = stream::errors() {
        errors.push(format!("{line}\n"), 1);
    }
}

/// Gives standard error time for what it has still to take, while somebody reads.
fn finish_errors() {
    if let Some(errors) = stream::errors() {
        let began = Instant::now();
        // Who has not read for a second before has had his last moment, but for another try.
        let since = began.checked_sub(LAST_MOMENT - LAST_TRY).unwrap_or(began);
        errors.finish(since, LAST_MOMENT, || began.elapsed() < LAST_MOMENTS);
    }
}

/// Says what the standard library would say of a panic, but waits for nobody who does not read.
fn tell_panic(info: &PanicHookInfo<'_>) {
    let this = thread::current();
    let mut said = format!("thread '{}' {info}", this.name().unwrap_or("<unnamed>"));
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        said = format!("{said}\nstack backtrace:\n{trace}");
    }
    for line in said.lines() {
        complain(format_args!("{}", escape(line)));
    }
    finish_errors();
}

/// Sends log records to standard error, each with the wall clock's time (RFC 3339, UTC).
fn start_logging(level: LevelFilter) {
    env_logger::Builder::new()
        .filter_level(LevelFilter::Trace)
        .target(env_logger::Target::Pipe(Box::new(LogLines)))
        .format(|out, record| {
            let line = log_line(record.level(), &record.args().to_string());
            out.write_all(line.as_bytes())
        })
        .init();
    // It can be changed while the program runs.
    log::set_max_level(level);
}

/// Writes a line of the log, with its end.
fn log_line(level: Level, said: &str) -> String {
    let level = level.as_str().to_ascii_lowercase();
    let now = format_rfc3339_millis(SystemTime::now());
    format!("{now} {level}: {}\n", escape(said))
}

/// Time that a slow reader of standard error is given at the end.
const LAST_MOMENTS: Duration = Duration::from_secs(5);

/// Time in which a stream that failed before is tried once more.
const LAST_TRY: Duration = Duration::from_millis(150);

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const UNREACHABLE: u8 = 3;

#[cfg(test)]
mod tests {
    use std::env;
    use std::io::{self, ErrorKind, Read};
    use std::process::{Command, Stdio};

    use super::*;

    /// Set in the process that panics.
    const PANICS: &str = "HEARTWHEEL_TEST_PANICS";

    /// What it exits with then.
    const WENT_ON: i32 = 7;

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn f43_a_panic_is_told_on_standard_error_and_waits_for_no_reader() {
        if env::var_os(PANICS).is_some() {
            panic::set_hook(Box::new(tell_panic));
            let worker = thread::Builder::new().name("worker".into());
            let worker = worker.spawn(|| panic!("first \x1b[2J\nsecond"));
            worker.expect("a thread").join().expect_err("it panics");
            std::process::exit(WENT_ON);
        }
        let (mut reader, writer) = io::pipe().expect("a pipe");
        assert_eq!(panic_into(writer), Some(WENT_ON));
        let mut said = String::new();
        reader.read_to_string(&mut said).expect("text");
        let lines: Vec<_> = said.lines().collect();
        assert!(
            lines[0].starts_with("thread 'worker' panicked at "),
            "{said}"
        );
        assert_eq!(lines[1..], ["first \\u{1b}[2J", "second"]);
        // Nobody reads any more, and there is no room.
        let (reader, mut writer) = io::pipe().expect("a pipe");
        rustix::io::ioctl_fionbio(&writer, true).expect("a pipe");
        let full = io::copy(&mut io::repeat(b'x'), &mut writer).expect_err("it is full");
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
        rustix::io::ioctl_fionbio(&writer, false).expect("a pipe");
        assert_eq!(panic_into(writer), Some(WENT_ON));
        drop(reader);
    }

    /// Runs the test above in a process of its own that panics and says so here; returns its exit code.
    fn panic_into(errors: io::PipeWriter) -> Option<i32> {
        let test = "tests::f43_a_panic_is_told_on_standard_error_and_waits_for_no_reader";
        let mut child = Command::new(env::current_exe().expect("this program"))
            .args(["--exact", test, "--nocapture"])
            .env(PANICS, "1")
            .env_remove("RUST_BACKTRACE")
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .expect("this program");
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(status) = child.try_wait().expect("a child") {
                return status.code();
            }
            if Instant::now() > deadline {
                child.kill().expect("a child");
                return child.wait().expect("a child").code();
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}
