//! Standard output, written by a thread of its own: the loop never waits for a reader.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Duration;

use crate::Failure;
use crate::record::Record;

/// Where events go.
///
/// Lines gather until [`flush`](Self::flush), once a turn. Whoever reads too slowly loses lines, and is
/// told how many; whoever stops reading loses them all.
#[derive(Debug)]
pub(crate) struct Output {
    form: Form,
    /// Columns to keep to, on a terminal.
    width: Option<usize>,
    lines: String,
    /// Lines lost since the last one that was not.
    dropped: u64,
    to_writer: Sender<String>,
    /// Bytes handed to the writer and not written yet.
    waiting: Arc<AtomicUsize>,
    written: Receiver<()>,
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Lines for people.
    Lines,
    /// One JSON object a line.
    Json,
    /// Not at all.
    Quiet,
}

impl Form {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        match (quiet, json) {
            (true, _) => Self::Quiet,
            (false, true) => Self::Json,
            (false, false) => Self::Lines,
        }
    }
}

impl Output {
    /// Starts the thread that writes to standard output.
    pub(crate) fn start(form: Form) -> Result<Self, Failure> {
        let mut output = Self::to(form, io::stdout())?;
        output.width = io::stdout().is_terminal().then(terminal_width);
        Ok(output)
    }

    /// Starts a thread that writes to somewhere else.
    pub(crate) fn to(form: Form, sink: impl Write + Send + 'static) -> Result<Self, Failure> {
        let (to_writer, lines) = mpsc::channel();
        let (done, written) = mpsc::channel();
        let waiting = Arc::new(AtomicUsize::new(0));
        let writer = Writer {
            sink,
            waiting: Arc::clone(&waiting),
        };
        thread::Builder::new()
            .name("heartwheel-output".into())
            .spawn(move || {
                writer.run(&lines);
                drop(done);
            })
            .map_err(|error| Failure::failed(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            form,
            width: None,
            lines: String::new(),
            dropped: 0,
            to_writer,
            waiting,
            written,
        })
    }

    pub(crate) fn form(&self) -> Form {
        self.form
    }

    /// Adds an event.
    pub(crate) fn record(&mut self, record: &Record) {
        if self.form == Form::Quiet {
            return;
        }
        if self.is_full() {
            self.dropped += 1;
            return;
        }
        self.report_dropped();
        self.write(record);
    }

    /// Adds a line for people alone.
    pub(crate) fn say(&mut self, line: &str) {
        if self.form == Form::Lines && !self.is_full() {
            self.lines.push_str(line);
            self.lines.push('\n');
        }
    }

    /// Hands what has gathered to the writer.
    pub(crate) fn flush(&mut self) {
        if self.dropped > 0 && !self.is_full() {
            self.report_dropped();
        }
        if self.lines.is_empty() {
            return;
        }
        let lines = std::mem::take(&mut self.lines);
        self.waiting.fetch_add(lines.len(), Ordering::AcqRel);
        // The writer leaves only after this end is gone.
        self.to_writer.send(lines).ok();
    }

    /// Gives the writer a moment to write the rest.
    pub(crate) fn finish(mut self) {
        self.flush();
        drop(self.to_writer);
        // An error says that the writer is done, or that nobody reads: either way it is over.
        self.written.recv_timeout(LAST_MOMENT).ok();
    }

    fn is_full(&self) -> bool {
        self.waiting.load(Ordering::Acquire) + self.lines.len() > MOST_WAITING
    }

    fn report_dropped(&mut self) {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            self.write(&Record::new("dropped").number("lines", dropped));
        }
    }

    fn write(&mut self, record: &Record) {
        match self.form {
            Form::Lines => record.write_line(self.width, &mut self.lines),
            Form::Json => record.write_json(&mut self.lines),
            Form::Quiet => {}
        }
    }
}

/// The other end.
struct Writer<W> {
    sink: W,
    waiting: Arc<AtomicUsize>,
}

impl<W: Write> Writer<W> {
    fn run(mut self, lines: &Receiver<String>) {
        let mut is_gone = false;
        while let Ok(batch) = lines.recv() {
            if !is_gone {
                let wrote = self.sink.write_all(batch.as_bytes());
                if let Err(error) = wrote.and_then(|()| self.sink.flush()) {
                    is_gone = true;
                    log::info!("standard output is gone ({error}); events are no longer written");
                }
            }
            self.waiting.fetch_sub(batch.len(), Ordering::AcqRel);
        }
    }
}

/// Bytes that may wait for a reader.
const MOST_WAITING: usize = 8 * 1024 * 1024;

/// Returns the columns that lines may fill: those of the terminal, but for room at the end that a
/// typed `^C` in front may push them into.
fn terminal_width() -> usize {
    let columns = terminal_size::terminal_size().map_or(COLUMNS, |(columns, _)| columns.0.into());
    usize::max(columns, LEAST_COLUMNS) - 3
}

/// The terminal's, where it does not say.
const COLUMNS: usize = 80;

/// A terminal narrower than this folds lines itself.
const LEAST_COLUMNS: usize = 60;

const LAST_MOMENT: Duration = Duration::from_secs(1);

/// A place to write to that a test can look at.
#[cfg(test)]
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<std::sync::Mutex<Vec<u8>>>);

#[cfg(test)]
impl Shared {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no writer panics")).into_owned()
    }
}

#[cfg(test)]
impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panics").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::SyncSender;

    use super::*;

    /// Takes nothing until its other end is gone, and fails then.
    struct Stuck(SyncSender<()>);

    impl Write for Stuck {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            self.0.send(()).ok();
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_arrive_in_order() {
        let sink = Shared::default();
        let mut output = Output::to(Form::Lines, sink.clone()).expect("threads");
        output.record(&Record::new("one").number("n", 1u64));
        output.flush();
        output.say("two");
        output.finish();
        assert_eq!(sink.text(), "one n=1\ntwo\n");
    }

    #[test]
    fn quiet_is_quiet() {
        let sink = Shared::default();
        let mut output = Output::to(Form::Quiet, sink.clone()).expect("threads");
        output.record(&Record::new("one"));
        output.say("two");
        output.finish();
        assert_eq!(sink.text(), "");
    }

    #[test]
    fn a_reader_that_is_stuck_costs_lines_and_not_memory() {
        let (sender, receiver) = mpsc::sync_channel(0);
        let mut output = Output::to(Form::Json, Stuck(sender)).expect("threads");
        let record = Record::new("noise").quoted("text", &"x".repeat(1_000));
        for _ in 0..20_000 {
            output.record(&record);
            output.flush();
        }
        assert!(output.dropped > 10_000, "{}", output.dropped);
        assert!(output.waiting.load(Ordering::Acquire) <= MOST_WAITING + 2_000);
        drop(receiver);
        output.finish();
    }
}
