//! A child process whose output is read as it comes, and which never outlives its test.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};
use serde_json::Value;

use super::PATIENCE;
use super::place::Place;

/// A line a process printed.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// When the test read it.
    pub(crate) at: Instant,
    pub(crate) text: String,
    /// What it says, if it is JSON.
    pub(crate) json: Option<Value>,
}

impl Line {
    /// Returns the JSON if it tells of such an event.
    pub(crate) fn event(&self, name: &str) -> Option<&Value> {
        self.json.as_ref().filter(|json| json["event"] == name)
    }
}

/// Everything that came out of one end of a process.
#[derive(Default)]
struct Log {
    state: Mutex<LogState>,
    grown: Condvar,
}

#[derive(Default)]
struct LogState {
    lines: Vec<Line>,
    ended: bool,
}

impl Log {
    fn follow(source: impl Read + Send + 'static) -> Arc<Self> {
        let log = Arc::new(Self::default());
        let writer = Arc::clone(&log);
        thread::spawn(move || {
            for line in BufReader::new(source).split(b'\n') {
                let Ok(line) = line else { break };
                let at = Instant::now();
                let text = String::from_utf8_lossy(&line).into_owned();
                let json = if text.starts_with('{') {
                    serde_json::from_str(&text).ok()
                } else {
                    None
                };
                writer.lock().lines.push(Line { at, text, json });
                writer.grown.notify_all();
            }
            writer.lock().ended = true;
            writer.grown.notify_all();
        });
        log
    }

    fn lock(&self) -> MutexGuard<'_, LogState> {
        self.state.lock().unwrap()
    }

    /// Looks at each line from `mark` on, also those still to come, until one is picked. Returns
    /// its number and what was picked; `None` at the deadline or the end of the output.
    fn pick<T>(
        &self,
        mark: usize,
        deadline: Instant,
        mut pick: impl FnMut(&Line) -> Option<T>,
    ) -> Option<(usize, T)> {
        let mut next = mark;
        let mut state = self.lock();
        loop {
            while let Some(line) = state.lines.get(next) {
                if let Some(found) = pick(line) {
                    return Some((next, found));
                }
                next += 1;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if state.ended || left.is_zero() {
                return None;
            }
            state = self.grown.wait_timeout(state, left).unwrap().0;
        }
    }

    fn wait_end(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        while !state.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.grown.wait_timeout(state, left).unwrap().0;
        }
        true
    }

    fn text(&self) -> String {
        let state = self.lock();
        state.lines.iter().fold(String::new(), |mut all, line| {
            all.push_str(&line.text);
            all.push('\n');
            all
        })
    }
}

/// The input of a process, for whoever talks to it.
#[derive(Clone)]
pub(crate) struct Input(Arc<Mutex<Option<ChildStdin>>>);

impl Input {
    /// Writes a line; a process that is gone misses it.
    pub(crate) fn say(&self, line: &str) {
        self.say_bytes(line.as_bytes());
    }

    /// Writes a line that need not be text.
    pub(crate) fn say_bytes(&self, line: &[u8]) {
        if let Some(stdin) = self.0.lock().unwrap().as_mut() {
            let _gone = stdin.write_all(&[line, b"\n"].concat());
        }
    }

    /// Ends the input.
    pub(crate) fn end(&self) {
        *self.0.lock().unwrap() = None;
    }
}

/// A running program.
pub(crate) struct Process {
    name: String,
    child: Child,
    input: Input,
    out: Arc<Log>,
    err: Arc<Log>,
    /// The process group that it started and that does its work: this is stopped and killed.
    group: Option<Pid>,
    /// Removed last of all.
    _place: Option<Place>,
}

impl Process {
    /// Starts a command; `missing` tells what to do if there is no such program.
    pub(crate) fn spawn(command: &mut Command, missing: &str) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}; {missing}"));
        Self {
            name,
            input: Input(Arc::new(Mutex::new(child.stdin.take()))),
            out: Log::follow(child.stdout.take().unwrap()),
            err: Log::follow(child.stderr.take().unwrap()),
            child,
            group: None,
            _place: None,
        }
    }

    /// Keeps a directory until the process has ended.
    pub(crate) fn keeping(mut self, place: Place) -> Self {
        self._place = Some(place);
        self
    }

    /// Names the process group that stands for this process from now on.
    pub(crate) fn acting_by(mut self, group: Pid) -> Self {
        self.group = Some(group);
        self
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn input(&self) -> &Input {
        &self.input
    }

    /// Returns where the output stands now, for [`wait_past`](Self::wait_past).
    pub(crate) fn mark(&self) -> usize {
        self.out.lock().lines.len()
    }

    /// Waits for a line, among all that were printed and will be.
    pub(crate) fn wait_for<T>(&self, what: &str, pick: impl FnMut(&Line) -> Option<T>) -> T {
        self.wait_past(0, what, pick).1
    }

    /// Looks for a line among those that were printed.
    pub(crate) fn find<T>(&self, pick: impl FnMut(&Line) -> Option<T>) -> Option<T> {
        self.out
            .pick(0, Instant::now(), pick)
            .map(|(_, found)| found)
    }

    /// Waits for a line from number `mark` on; returns its number, too.
    pub(crate) fn wait_past<T>(
        &self,
        mark: usize,
        what: &str,
        pick: impl FnMut(&Line) -> Option<T>,
    ) -> (usize, T) {
        self.wait_past_within(PATIENCE, mark, what, pick)
    }

    /// The same for what takes longer.
    pub(crate) fn wait_past_within<T>(
        &self,
        patience: Duration,
        mark: usize,
        what: &str,
        pick: impl FnMut(&Line) -> Option<T>,
    ) -> (usize, T) {
        let found = self.out.pick(mark, Instant::now() + patience, pick);
        self.expect_said(what, found)
    }

    /// Waits for a line of the log, on standard error.
    pub(crate) fn wait_logged<T>(&self, what: &str, pick: impl FnMut(&Line) -> Option<T>) -> T {
        let found = self.err.pick(0, Instant::now() + PATIENCE, pick);
        self.expect_said(what, found).1
    }

    fn expect_said<T>(&self, what: &str, found: Option<T>) -> T {
        found.unwrap_or_else(|| panic!("{} never said: {what}\n{}", self.name, self.transcript()))
    }

    /// Holds for `span`: fails as soon as a line from number `mark` on is picked, or at the end of
    /// the output.
    pub(crate) fn holds(
        &self,
        mark: usize,
        span: Duration,
        what: &str,
        mut fails: impl FnMut(&Line) -> bool,
    ) {
        let until = Instant::now() + span;
        let failed = self.out.pick(mark, until, |line| fails(line).then_some(()));
        assert!(
            failed.is_none() && !self.out.lock().ended,
            "{}: {what}\n{}",
            self.name,
            self.transcript()
        );
    }

    /// Stops the process as Ctrl-Z would, and waits until it is.
    pub(crate) fn stop(&self) {
        self.signal(Signal::STOP);
        // Only for a child can it be waited; a group takes the signal before its next step, too.
        if self.group.is_none() {
            let options = WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
            waitid(WaitId::Pid(self.pid()), options).unwrap();
        }
    }

    /// Lets a stopped process go on.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills the process without a chance to say anything.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        match self.group {
            Some(group) => kill_process_group(group, signal).unwrap(),
            None => kill_process(self.pid(), signal).unwrap(),
        }
    }

    /// Says whether it has not ended yet.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end.
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        self.wait_exit_within(PATIENCE)
    }

    /// The same for one that has more to do.
    pub(crate) fn wait_exit_within(&mut self, patience: Duration) -> ExitStatus {
        let deadline = Instant::now() + patience;
        let closed = self.out.wait_end(deadline) && self.err.wait_end(deadline);
        assert!(closed, "{} does not end\n{}", self.name, self.transcript());
        self.child.wait().unwrap()
    }

    /// Returns the lines of the standard output so far.
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.out.lock().lines.clone()
    }

    /// Returns all of the standard output so far.
    pub(crate) fn stdout(&self) -> String {
        self.out.text()
    }

    /// Returns all of the standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.err.text()
    }

    /// Returns what was printed, each line cut to a readable length.
    pub(crate) fn transcript(&self) -> String {
        let mut all = String::new();
        for (name, log) in [("stdout", &self.out), ("stderr", &self.err)] {
            writeln!(all, "--- {} of {}", name, self.name).unwrap();
            for line in &log.lock().lines {
                let shown: String = line.text.chars().take(400).collect();
                writeln!(all, "{shown}").unwrap();
            }
        }
        all
    }

    /// Answers each line `PING` with `PONG`, as a person at the keyboard would.
    pub(crate) fn answer_pings(&self) {
        let (out, input) = (Arc::clone(&self.out), self.input.clone());
        thread::spawn(move || {
            let mut next = 0;
            let far = Instant::now() + PATIENCE * 10;
            while let Some((found, ())) =
                out.pick(next, far, |line| (line.text == "PING").then_some(()))
            {
                input.say("PONG");
                next = found + 1;
            }
        });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(group) = self.group {
            let _gone = kill_process_group(group, Signal::KILL);
        }
        // By its own handle: the process is ours until it is waited for.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}
