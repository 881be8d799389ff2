//! What a process of this bench and the one that started it say to each other: a line each way.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use heartwheel::proto::time::Micros;
use heartwheel::stats::Histogram;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value, json};

/// Counters and histograms of a process at one moment, or what they grew by since another.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    numbers: BTreeMap<String, u64>,
    times: BTreeMap<String, Histogram>,
}

impl Look {
    /// Begins with the processor time of this process.
    pub(crate) fn now() -> Self {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        let nanos = time.tv_sec * 1_000_000_000 + time.tv_nsec;
        Self::default().with(CPU, nanos.cast_unsigned())
    }

    pub(crate) fn with(mut self, name: &str, number: u64) -> Self {
        self.numbers.insert(name.to_owned(), number);
        self
    }

    pub(crate) fn with_times(mut self, name: &str, times: &Histogram) -> Self {
        self.times.insert(name.to_owned(), times.clone());
        self
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.numbers.get(name).copied().unwrap_or(0)
    }

    pub(crate) fn times(&self, name: &str) -> Histogram {
        self.times.get(name).cloned().unwrap_or_default()
    }

    pub(crate) fn cpu(&self) -> Duration {
        Duration::from_nanos(self.number(CPU))
    }

    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        for (name, number) in &mut since.numbers {
            *number = number.saturating_sub(earlier.number(name));
        }
        for (name, times) in &mut since.times {
            *times = times.since(&earlier.times(name));
        }
        since
    }

    /// Adds those of another process.
    pub(crate) fn add(&mut self, other: &Self) {
        for (name, number) in &other.numbers {
            *self.numbers.entry(name.clone()).or_default() += number;
        }
        for (name, times) in &other.times {
            self.times.entry(name.clone()).or_default().merge(times);
        }
    }

    fn to_line(&self) -> String {
        let pairs = |times: &Histogram| -> Vec<_> {
            let buckets = times.buckets();
            buckets
                .map(|(time, count)| json!([Micros::from(time).as_micros(), count]))
                .collect()
        };
        let times = self.times.iter();
        let times: Map<_, _> = times
            .map(|(name, all)| (name.clone(), pairs(all).into()))
            .collect();
        json!({ "numbers": self.numbers, "times": times }).to_string()
    }

    fn from_line(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line).ok()?;
        let mut look = Self::default();
        for (name, number) in value["numbers"].as_object()? {
            look.numbers.insert(name.clone(), number.as_u64()?);
        }
        for (name, buckets) in value["times"].as_object()? {
            let times = look.times.entry(name.clone()).or_default();
            for bucket in buckets.as_array()? {
                times.record_many(
                    Duration::from_micros(bucket[0].as_u64()?),
                    bucket[1].as_u64()?,
                );
            }
        }
        Some(look)
    }
}

/// Processor time used, nanoseconds.
const CPU: &str = "cpu";

/// A process that this bench has started, mostly this very program in another role.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(role: &[String]) -> io::Result<Self> {
        Self::spawn(Command::new(env::current_exe()?).arg(ROLE).args(role))
    }

    pub(crate) fn spawn(command: &mut Command) -> io::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(child.stdout.take().expect("its output is piped"));
        Ok(Self { child, output })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Reads the next line that it says.
    pub(crate) fn hear(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.is_empty() {
            return Err(io::Error::other("a process of the bench ended early"));
        }
        Ok(line.trim_end().to_owned())
    }

    /// Gives a command, to be answered with a look.
    pub(crate) fn tell(&mut self, command: &str) -> io::Result<()> {
        let input = self.child.stdin.as_mut().expect("its input is piped");
        writeln!(input, "{command}")
    }

    pub(crate) fn answer(&mut self) -> io::Result<Look> {
        let line = self.hear()?;
        Look::from_line(&line).ok_or_else(|| io::Error::other(format!("a process said {line:?}")))
    }

    pub(crate) fn look(&mut self) -> io::Result<Look> {
        self.tell("look")?;
        self.answer()
    }

    /// Returns the bytes of its memory that are resident.
    pub(crate) fn resident(&self) -> io::Result<u64> {
        let path = format!("/proc/{}/smaps_rollup", self.id());
        let text = std::fs::read_to_string(path)?;
        let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib: u64 = kib.and_then(|kib| kib.parse().ok()).unwrap_or(0);
        Ok(kib * 1024)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The end of its input ends it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The first argument of a process that has a role.
const ROLE: &str = "--role";

/// Returns what this process was started for, if not to bench.
pub(crate) fn role(arguments: &[String]) -> Option<&[String]> {
    match arguments {
        [first, role @ ..] if first == ROLE => Some(role),
        _ => None,
    }
}

/// Waits for the next command; there is none after the end of input.
pub(crate) fn next_command() -> io::Result<Option<String>> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok((!line.is_empty()).then(|| line.trim_end().to_owned()))
}

pub(crate) fn say(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

pub(crate) fn show(look: &Look) -> io::Result<()> {
    say(&look.to_line())
}
