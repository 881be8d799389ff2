//! Events on standard output.

#[cfg(test)]
use std::io::Write;
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use crate::Failure;
use crate::record::Record;
use crate::stream::{Kind, Stream};
use crate::text::LongText;

/// Where events go.
///
/// Lines gather until [`flush`](Self::flush), once a turn. Whoever reads too slowly loses lines, and is
/// told how many; whoever stops reading loses them all.
#[derive(Debug)]
pub(crate) struct Output {
    form: Form,
    /// Lines keep to the columns that the terminal has as each is written: it may be resized.
    is_terminal: bool,
    lines: String,
    /// How many these are.
    count: u64,
    stream: Stream,
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
        let stream = Stream::start(kind(form), rustix::stdio::stdout()).map_err(no_thread)?;
        Ok(Self {
            is_terminal: io::stdout().is_terminal(),
            ..Self::over(form, stream)
        })
    }

    /// Starts a thread that writes to somewhere else.
    #[cfg(test)]
    pub(crate) fn to(form: Form, sink: impl Write + Send + 'static) -> Result<Self, Failure> {
        let stream = Stream::start_with(kind(form), sink).map_err(no_thread)?;
        Ok(Self::over(form, stream))
    }

    fn over(form: Form, stream: Stream) -> Self {
        Self {
            form,
            is_terminal: false,
            lines: String::new(),
            count: 0,
            stream,
        }
    }

    pub(crate) fn form(&self) -> Form {
        self.form
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Adds an event.
    pub(crate) fn record(&mut self, record: &Record) {
        if self.form != Form::Quiet && self.stream.admits_line() {
            self.write(record);
            self.end_line();
        }
    }

    /// Adds the event that sums up, and which is never dropped.
    pub(crate) fn record_in_any_case(&mut self, record: &Record) {
        self.flush();
        self.write(record);
        if !self.lines.is_empty() {
            self.stream
                .push_in_any_case(std::mem::take(&mut self.lines));
        }
    }

    /// Adds a line for people alone.
    pub(crate) fn say(&mut self, line: &str) {
        if self.form == Form::Lines && self.stream.admits_line() {
            self.lines.push_str(line);
            self.lines.push('\n');
            self.end_line();
        }
    }

    /// Adds a text message, cut where it is nothing but control characters unless it must be whole.
    pub(crate) fn text(&mut self, text: &str, is_whole: bool) {
        if self.form == Form::Quiet || !self.stream.admits_line() {
            return;
        }
        if text.len() > LONG {
            self.flush();
            let text = text.into();
            return self
                .stream
                .push_text(LongText::new(self.form, text, is_whole));
        }
        let mut text = LongText::new(self.form, text, is_whole);
        while !text.write_piece(&mut self.lines) {}
        self.end_line();
    }

    /// Hands what has gathered to the writer.
    pub(crate) fn flush(&mut self) {
        let count = std::mem::take(&mut self.count);
        if count > 0 {
            self.stream.push(std::mem::take(&mut self.lines), count);
        }
    }

    /// Returns how many bytes wait to be read.
    pub(crate) fn waiting(&self) -> usize {
        self.lines.len() + self.stream.waiting()
    }

    /// Gives the writer time for the rest: see [`Stream::finish`].
    pub(crate) fn finish(mut self, patience: Duration, is_worth: impl FnMut() -> bool) {
        self.flush();
        self.stream.finish(Instant::now(), patience, is_worth);
    }

    fn end_line(&mut self) {
        self.count += 1;
        if self.lines.len() > MOST_GATHERED {
            self.flush();
        }
    }

    fn write(&mut self, record: &Record) {
        let width = self.is_terminal.then(terminal_width);
        write_record(self.form, width, record, &mut self.lines);
    }
}

fn write_record(form: Form, width: Option<usize>, record: &Record, out: &mut String) {
    match form {
        Form::Lines => record.write_line(width, out),
        Form::Json => record.write_json(out),
        Form::Quiet => {}
    }
}

fn kind(form: Form) -> Kind {
    Kind {
        thread: "heartwheel-output",
        name: Some("standard output"),
        most: MOST_WAITING,
        tell_dropped: match form {
            Form::Json => |count| dropped(Form::Json, count),
            Form::Lines | Form::Quiet => |count| dropped(Form::Lines, count),
        },
    }
}

fn dropped(form: Form, count: u64) -> String {
    let mut line = String::new();
    write_record(
        form,
        None,
        &Record::new("dropped").number("lines", count),
        &mut line,
    );
    line
}

fn no_thread(error: io::Error) -> Failure {
    Failure::failed(format!("cannot start a thread: {error}"))
}

/// Bytes of lines that may wait for a reader.
const MOST_WAITING: usize = 8 * 1024 * 1024;

/// Bytes of lines that wait for the end of the turn.
const MOST_GATHERED: usize = 64 * 1024;

/// A text of more bytes waits as it is, and is escaped while it is written.
const LONG: usize = 16 * 1024;

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

/// A place to write to that a test can look at.
#[cfg(test)]
#[derive(Clone, Default)]
pub(crate) struct Shared(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

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
    use super::*;

    #[test]
    fn lines_arrive_in_order() {
        let sink = Shared::default();
        let mut output = Output::to(Form::Lines, sink.clone()).expect("threads");
        output.record(&Record::new("one").number("n", 1u64));
        output.flush();
        output.say("two");
        output.text("three", false);
        output.text(&"4".repeat(LONG + 1), false);
        output.record_in_any_case(&Record::new("five"));
        output.finish(Duration::from_secs(30), || true);
        let four = "4".repeat(LONG + 1);
        let lines = format!("one n=1\ntwo\n< three\n< {four}\nfive\n");
        assert_eq!(sink.text(), lines);
    }

    #[test]
    fn quiet_is_quiet() {
        let sink = Shared::default();
        let mut output = Output::to(Form::Quiet, sink.clone()).expect("threads");
        output.record(&Record::new("one"));
        output.say("two");
        output.text("three", false);
        output.record_in_any_case(&Record::new("four"));
        output.finish(Duration::from_secs(30), || true);
        assert_eq!(sink.text(), "");
    }
}
