//! Standard output and standard error. Each has its own writing thread, so that the loop never
//! waits for a reader.
//!
//! An error of a stream is of one of two kinds. After a passing one (a full pipe, a full disk) the
//! thread tries again later. It first completes a half-written line. Meanwhile, lines that do not
//! fit are dropped, always whole, and counted. A stream is given up only if it is gone, which means
//! that nobody can ever read it.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::process::getpgrp;
use rustix::termios::{LocalModes, tcgetattr, tcgetpgrp};

use crate::text::LongText;

/// A stream that can be written to without waiting.
///
/// Lines that do not fit are dropped until half of the room is free again. Then a line says how
/// many were dropped.
#[derive(Clone, Debug)]
pub(crate) struct Stream(Arc<Shared>);

/// The settings of a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// The thread's name.
    pub(crate) thread: &'static str,
    /// The stream's name in the log. `None` for the stream of the log itself.
    pub(crate) name: Option<&'static str>,
    /// Most bytes of lines that may wait.
    pub(crate) most: usize,
    /// Makes the line that says how many were dropped.
    pub(crate) tell_dropped: fn(u64) -> String,
}

#[derive(Debug)]
struct Shared {
    kind: Kind,
    state: Mutex<State>,
    /// The writer has work.
    work: Condvar,
    /// The writer has no work left.
    rest: Condvar,
}

struct State {
    waiting: VecDeque<Entry>,
    /// Bytes of lines that wait, including those of the writer.
    lines: usize,
    /// Bytes of long texts that wait, including those of the writer.
    texts: usize,
    /// The writer is writing an entry.
    is_busy: bool,
    /// Dropped lines that have not been reported yet.
    dropped: u64,
    is_dropping: bool,
    is_gone: bool,
    /// The program ends: there is no time to wait for passing errors.
    is_last_moment: bool,
    /// When bytes were last written, or could first be written.
    progress: Instant,
    /// Called when there is room.
    waker: Option<Box<dyn FnOnce() + Send>>,
    /// The reader has left, as `head` does when it has enough.
    is_left: bool,
    /// Called when the reader has left.
    farewell: Option<Box<dyn FnOnce() + Send>>,
}

/// What waits in one piece.
enum Entry {
    Lines(String),
    Text(LongText<Box<str>>),
}

impl Stream {
    /// Starts the thread that writes to this file.
    pub(crate) fn start(kind: Kind, fd: BorrowedFd<'static>) -> io::Result<Self> {
        let is_terminal = fd.is_terminal();
        Self::start_with(kind, Descriptor { fd, is_terminal })
    }

    /// Starts a thread that writes to `sink`.
    pub(crate) fn start_with(kind: Kind, sink: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            kind,
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                lines: 0,
                texts: 0,
                is_busy: false,
                dropped: 0,
                is_dropping: false,
                is_gone: false,
                is_last_moment: false,
                progress: Instant::now(),
                waker: None,
                is_left: false,
                farewell: None,
            }),
            work: Condvar::new(),
            rest: Condvar::new(),
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            sink,
            last_trouble: None,
        };
        thread::Builder::new()
            .name(kind.thread.into())
            .spawn(move || writer.run())?;
        Ok(Self(shared))
    }

    /// Says whether a line fits now. If not, it counts as dropped.
    pub(crate) fn admits_line(&self) -> bool {
        let mut state = self.0.lock();
        if state.is_dropping {
            state.dropped += 1;
        }
        !state.is_gone && !state.is_dropping
    }

    /// Adds `count` lines with their line ends, or drops them.
    pub(crate) fn push(&self, lines: String, count: u64) {
        self.add(Entry::Lines(lines), count, false);
    }

    /// Adds lines that must never be dropped, such as a summary.
    pub(crate) fn push_in_any_case(&self, lines: String) {
        self.add(Entry::Lines(lines), 0, true);
    }

    /// Adds a line that is made piece by piece while it is written.
    pub(crate) fn push_text(&self, text: LongText<Box<str>>) {
        self.add(Entry::Text(text), 1, false);
    }

    fn add(&self, entry: Entry, count: u64, in_any_case: bool) {
        let mut state = self.0.lock();
        if state.is_gone {
            return;
        }
        let most = self.0.kind.most;
        // One that is longer than all the room is taken where nothing else waits.
        let has_room = match &entry {
            Entry::Lines(lines) => state.lines == 0 || state.lines + lines.len() <= most,
            Entry::Text(_) => state.texts <= most,
        };
        if !in_any_case && (state.is_dropping || !has_room) {
            state.is_dropping = true;
            state.dropped += count;
            return;
        }
        if in_any_case {
            state.tell_dropped(&self.0.kind);
        }
        if !state.is_busy && state.waiting.is_empty() {
            // What is written first has waited for nobody yet.
            state.progress = Instant::now();
        }
        state.add(entry);
        // A writer that is busy looks again by itself.
        let is_idle = !state.is_busy;
        drop(state);
        if is_idle {
            self.0.work.notify_one();
        }
    }

    /// Returns how many bytes wait.
    pub(crate) fn waiting(&self) -> usize {
        let state = self.0.lock();
        state.lines + state.texts
    }

    /// Calls `waker` from another thread once few bytes wait; at once if few wait already.
    pub(crate) fn wake_when_drained(&self, waker: impl FnOnce() + Send + 'static) {
        let mut state = self.0.lock();
        if state.is_gone || state.lines + state.texts <= FEW {
            drop(state);
            waker();
        } else {
            state.waker = Some(Box::new(waker));
        }
    }

    /// Calls `farewell` from another thread once the reader of a pipe has left.
    pub(crate) fn wake_when_left(&self, farewell: impl FnOnce() + Send + 'static) {
        let mut state = self.0.lock();
        if state.is_left {
            drop(state);
            farewell();
        } else {
            state.farewell = Some(Box::new(farewell));
        }
    }

    /// Says whether the reader of a pipe has left.
    pub(crate) fn is_left(&self) -> bool {
        self.0.lock().is_left
    }

    /// Waits until all is written, but not for a reader that stands still: no longer than `patience`
    /// after `since` or after what he read last, and no longer than `is_worth` says.
    pub(crate) fn finish(
        &self,
        since: Instant,
        patience: Duration,
        mut is_worth: impl FnMut() -> bool,
    ) {
        let mut state = self.0.lock();
        state.tell_dropped(&self.0.kind);
        state.is_last_moment = true;
        self.0.work.notify_one();
        while !state.is_gone && (state.is_busy || !state.waiting.is_empty()) {
            let last = state.progress.max(since);
            let left = patience.saturating_sub(last.elapsed());
            if left.is_zero() || !is_worth() {
                break;
            }
            let waited = self.0.rest.wait_timeout(state, left.min(GLANCE));
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.is_last_moment = false;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn add(&mut self, entry: Entry) {
        match (&entry, self.waiting.back_mut()) {
            (Entry::Lines(lines), Some(Entry::Lines(last)))
                if last.len() + lines.len() <= TOGETHER =>
            {
                self.lines += lines.len();
                last.push_str(lines);
                return;
            }
            (Entry::Lines(lines), _) => self.lines += lines.len(),
            (Entry::Text(text), _) => self.texts += text.len(),
        }
        self.waiting.push_back(entry);
    }

    /// Adds the line about dropped lines, after the lines that were not dropped.
    fn tell_dropped(&mut self, kind: &Kind) {
        self.is_dropping = false;
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            self.add(Entry::Lines((kind.tell_dropped)(dropped)));
        }
    }

    fn is_drained(&self) -> bool {
        self.lines + self.texts <= FEW
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("lines", &self.lines)
            .field("texts", &self.texts)
            .field("dropped", &self.dropped)
            .field("is_gone", &self.is_gone)
            .finish_non_exhaustive()
    }
}

/// The other end.
struct Writer<W> {
    shared: Arc<Shared>,
    sink: W,
    /// When an error was told of last.
    last_trouble: Option<Instant>,
}

impl<W: Write> Writer<W> {
    fn run(mut self) {
        while let Some(entry) = self.next() {
            let (lines, texts) = match &entry {
                Entry::Lines(lines) => (lines.len(), 0),
                Entry::Text(text) => (0, text.len()),
            };
            if let Err(error) = self.write_entry(entry) {
                return self.give_up(&error);
            }
            let mut state = self.shared.lock();
            state.lines -= lines;
            state.texts -= texts;
            state.is_busy = false;
        }
    }

    /// Waits for what is to be written next.
    fn next(&self) -> Option<Entry> {
        let mut state = self.shared.lock();
        loop {
            let half = self.shared.kind.most / 2;
            if state.is_dropping && state.lines <= half && state.texts <= half {
                state.tell_dropped(&self.shared.kind);
            }
            if state.is_drained()
                && let Some(waker) = state.waker.take()
            {
                drop(state);
                waker();
                state = self.shared.lock();
            }
            if let Some(entry) = state.waiting.pop_front() {
                state.is_busy = true;
                return Some(entry);
            }
            if state.is_last_moment {
                self.shared.rest.notify_all();
            }
            let waited = self.shared.work.wait(state);
            state = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn write_entry(&mut self, entry: Entry) -> io::Result<()> {
        match entry {
            Entry::Lines(lines) => self.write(lines.as_bytes()),
            Entry::Text(mut text) => {
                let mut piece = String::new();
                loop {
                    let is_over = text.write_piece(&mut piece);
                    self.write(piece.as_bytes())?;
                    if is_over {
                        return Ok(());
                    }
                    piece.clear();
                }
            }
        }
    }

    /// Writes all bytes, however long that takes. Fails only if the stream is gone.
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let mut pause = SHORTEST_PAUSE;
        while !bytes.is_empty() {
            match self.sink.write(&bytes[..portion(bytes)]) {
                Ok(0) => self.pause(&mut pause),
                Ok(written) => {
                    bytes = &bytes[written..];
                    pause = SHORTEST_PAUSE;
                    self.shared.lock().progress = Instant::now();
                }
                Err(error) if is_end(&error) => return Err(error),
                Err(error) => {
                    self.tell_trouble(&error);
                    self.pause(&mut pause);
                }
            }
        }
        Ok(())
    }

    /// Waits before another try, longer each time.
    fn pause(&self, pause: &mut Duration) {
        let state = self.shared.lock();
        let longest = match state.is_last_moment {
            true => GLANCE,
            false => LONGEST_PAUSE,
        };
        *pause = (*pause * 2).min(longest);
        let until = Instant::now() + *pause;
        let mut state = state;
        // A last moment that begins meanwhile ends the pause.
        while !state.is_last_moment || longest == GLANCE {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.shared.work.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Logs an error now and then. It is no error yet that nobody reads.
    fn tell_trouble(&mut self, error: &io::Error) {
        let is_fresh = self
            .last_trouble
            .is_none_or(|told| told.elapsed() > TROUBLE_PERIOD);
        if let Some(name) = self.shared.kind.name
            && is_fresh
            && !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
        {
            self.last_trouble = Some(Instant::now());
            log::warn!(
                "{name} cannot be written now ({error}); lines wait, and are dropped and counted if too many wait"
            );
        }
    }

    fn give_up(&self, error: &io::Error) {
        let (waker, farewell) = {
            let mut state = self.shared.lock();
            state.is_gone = true;
            state.is_left = error.kind() == ErrorKind::BrokenPipe;
            state.waiting = VecDeque::new();
            (state.lines, state.texts) = (0, 0);
            (state.dropped, state.is_dropping) = (0, false);
            self.shared.rest.notify_all();
            let farewell = state.farewell.take().filter(|_| state.is_left);
            (state.waker.take(), farewell)
        };
        for call in [waker, farewell].into_iter().flatten() {
            call();
        }
        if let Some(name) = self.shared.kind.name {
            log::info!("nobody reads {name} any more ({error}); events are no longer written");
        }
    }
}

/// A file that may be shared with others, whatever flags they have set on it.
struct Descriptor {
    fd: BorrowedFd<'static>,
    is_terminal: bool,
}

impl Descriptor {
    /// Waits until there is room, or for so long.
    fn poll(&self, limit: Option<&Timespec>) -> rustix::io::Result<PollFlags> {
        let mut files = [PollFd::new(&self.fd, PollFlags::OUT)];
        poll(&mut files, limit)?;
        Ok(files[0].revents())
    }
}

impl Write for Descriptor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_terminal && is_in_background(self.fd) && stops_background(self.fd) {
            return Err(Errno::AGAIN.into());
        }
        match rustix::io::write(self.fd, bytes) {
            // The file may be one that does not wait for room.
            Err(Errno::AGAIN) => {
                self.poll(None)?;
                Ok(rustix::io::write(self.fd, bytes)?)
            }
            // A terminal that was closed.
            Err(Errno::IO) if self.poll(Some(&NOW))?.contains(PollFlags::HUP) => {
                Err(Errno::PIPE.into())
            }
            written => Ok(written?),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says whether a terminal belongs to others just now: to read from it would stop the whole program, and
/// with it the heartbeats.
pub(crate) fn is_in_background(terminal: BorrowedFd<'_>) -> bool {
    tcgetpgrp(terminal).is_ok_and(|group| group != getpgrp())
}

/// Says whether to write to a terminal would do so, too (`stty tostop`).
fn stops_background(terminal: BorrowedFd<'_>) -> bool {
    tcgetattr(terminal).is_ok_and(|attributes| attributes.local_modes.contains(LocalModes::TOSTOP))
}

/// Returns how much to write at once: whole lines where they fit, so that a pipe with several writers
/// takes them undivided, and no more than one that has some room takes without a wait.
fn portion(bytes: &[u8]) -> usize {
    if bytes.len() <= PORTION {
        return bytes.len();
    }
    let line = bytes[..PORTION].iter().rposition(|&byte| byte == b'\n');
    line.map_or(PORTION, |end| end + 1)
}

/// Says whether an error is final: nobody reads, or this never was a place to write to.
pub(crate) fn is_end(error: &io::Error) -> bool {
    const ENDS: [Errno; 10] = [
        Errno::PIPE,
        Errno::BADF,
        Errno::NXIO,
        Errno::NODEV,
        Errno::INVAL,
        Errno::ISDIR,
        Errno::CONNRESET,
        Errno::NOTCONN,
        Errno::SHUTDOWN,
        Errno::DESTADDRREQ,
    ];
    Errno::from_io_error(error).is_some_and(|errno| ENDS.contains(&errno))
}

/// Returns standard error, for the log and other messages.
pub(crate) fn errors() -> Option<&'static Stream> {
    static ERRORS: OnceLock<Option<Stream>> = OnceLock::new();
    let start = || Stream::start(LOG, rustix::stdio::stderr()).ok();
    ERRORS.get_or_init(start).as_ref()
}

/// Prints a text to standard output, for whoever reads it.
pub(crate) fn print(text: String) {
    if let Some(stream) = help() {
        stream.push_in_any_case(text);
        stream.finish(Instant::now(), LAST_MOMENT, || true);
    }
}

/// Returns standard output, for a help text.
pub(crate) fn help() -> Option<Stream> {
    let kind = Kind {
        thread: "heartwheel-help",
        name: None,
        ..LOG
    };
    Stream::start(kind, rustix::stdio::stdout()).ok()
}

/// Takes the lines of a logger.
#[derive(Debug)]
pub(crate) struct LogLines;

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(errors) = errors() {
            errors.push(String::from_utf8_lossy(bytes).into_owned(), 1);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const LOG: Kind = Kind {
    thread: "heartwheel-log",
    name: None,
    most: 1024 * 1024,
    tell_dropped: |count| {
        let line = format!("{count} lines of the log were dropped: nobody read them in time");
        crate::log_line(log::Level::Warn, &line)
    },
};

const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// If no more bytes than these wait, there is room again.
const FEW: usize = 256 * 1024;

/// Lines up to this many bytes wait as one.
const TOGETHER: usize = 16 * 1024;

/// What a pipe that can be written to takes at once, and undivided (`PIPE_BUF` on Linux).
const PORTION: usize = 4096;

const SHORTEST_PAUSE: Duration = Duration::from_millis(1);

const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Shortest time between two log lines about errors of a stream.
const TROUBLE_PERIOD: Duration = Duration::from_secs(60);

/// Time at the end for a reader that does not read.
pub(crate) const LAST_MOMENT: Duration = Duration::from_secs(1);

const GLANCE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;
    use crate::output::Shared as Sink;

    const KIND: Kind = Kind {
        thread: "test",
        name: Some("test"),
        most: 1_000,
        tell_dropped: |count| format!("dropped {count}\n"),
    };

    const LONG: Duration = Duration::from_secs(60);

    /// Does what a script says, each time it is written to, and then takes everything.
    struct Scripted {
        sink: Sink,
        script: VecDeque<Result<usize, Errno>>,
    }

    impl Write for Scripted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            match self.script.pop_front() {
                Some(Ok(most)) => self.sink.write(&bytes[..most.min(bytes.len())]),
                Some(Err(errno)) => Err(errno.into()),
                None => self.sink.write(bytes),
            }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Takes bytes one write at a time, when it is told to.
    struct Gated {
        sink: Sink,
        gate: Receiver<()>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.gate.recv().map_err(|_| Errno::PIPE)?;
            self.sink.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (Stream, Sink, SyncSender<()>) {
        let (sink, (opener, gate)) = (Sink::default(), sync_channel(1_000));
        let gated = Gated {
            sink: sink.clone(),
            gate,
        };
        let stream = Stream::start_with(KIND, gated).expect("threads");
        (stream, sink, opener)
    }

    #[test]
    fn errors_that_pass_cost_no_byte() {
        use Errno as E;
        let passing = [
            E::AGAIN,
            E::INTR,
            E::NOSPC,
            E::DQUOT,
            E::FBIG,
            E::IO,
            E::NOMEM,
        ];
        let mut script = VecDeque::new();
        for errno in passing {
            script.extend([Ok(3), Err(errno), Ok(0), Ok(1)]);
        }
        let sink = Sink::default();
        let scripted = Scripted {
            sink: sink.clone(),
            script,
        };
        let stream = Stream::start_with(KIND, scripted).expect("threads");
        stream.push("the first line\n".into(), 1);
        stream.push("the second line\n".into(), 1);
        stream.finish(Instant::now(), LONG, || true);
        assert_eq!(sink.text(), "the first line\nthe second line\n");
    }

    #[test]
    fn a_stream_that_is_gone_is_silent_for_good_and_nobody_waits_for_it() {
        for errno in [Errno::PIPE, Errno::BADF, Errno::NXIO, Errno::CONNRESET] {
            let sink = Sink::default();
            let scripted = Scripted {
                sink: sink.clone(),
                script: [Ok(4), Err(errno)].into(),
            };
            let stream = Stream::start_with(KIND, scripted).expect("threads");
            stream.push("one\ntwo\n".into(), 2);
            stream.finish(Instant::now(), LONG, || true);
            stream.push_in_any_case("three\n".into());
            stream.finish(Instant::now(), LONG, || true);
            assert_eq!(sink.text(), "one\n");
            assert!(!stream.admits_line());
            let (sender, woken) = sync_channel(1);
            stream.wake_when_drained(move || sender.send(()).expect("it is awaited"));
            woken.recv_timeout(LONG).expect("it is called");
        }
    }

    #[test]
    fn what_does_not_fit_is_dropped_by_whole_lines_and_told_of_in_its_place() {
        let (stream, sink, opener) = gated();
        let line = |number: u32| format!("{number:09}\n");
        for number in 0..300 {
            stream.push(line(number), 1);
        }
        // A hundred lines fit, whatever of them the writer has taken.
        assert!(stream.waiting() <= KIND.most);
        let before = sink.text();
        assert_eq!(before, "");
        // Until half of the room is free nothing gets in, and no line says that a few are missing.
        for _ in 0..20 {
            opener.send(()).expect("it is there");
        }
        stream.finish(Instant::now(), LONG, || true);
        let kept: String = (0..100).map(line).collect();
        assert_eq!(sink.text(), kept.clone() + "dropped 200\n");
        stream.push("on\n".into(), 1);
        stream.finish(Instant::now(), LONG, || true);
        assert_eq!(sink.text(), kept + "dropped 200\non\n");
    }

    #[test]
    fn the_count_is_told_although_nothing_else_is_said() {
        let (stream, sink, opener) = gated();
        for _ in 0..200 {
            stream.push("123456789\n".into(), 1);
        }
        for _ in 0..20 {
            opener.send(()).expect("it is there");
        }
        let deadline = Instant::now() + LONG;
        while !sink.text().ends_with("\ndropped 100\n") {
            assert!(Instant::now() < deadline, "{}", sink.text());
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn last_words_are_never_dropped_and_never_awaited_for_ever() {
        let (stream, sink, opener) = gated();
        for _ in 0..200 {
            stream.push("123456789\n".into(), 1);
        }
        stream.push_in_any_case("summary\n".into());
        stream.finish(Instant::now(), Duration::from_millis(10), || true);
        stream.finish(Instant::now(), LONG, || false);
        assert_eq!(sink.text(), "");
        for _ in 0..20 {
            opener.send(()).expect("it is there");
        }
        stream.finish(Instant::now(), LONG, || true);
        assert!(sink.text().ends_with("\ndropped 100\nsummary\n"));
    }

    #[test]
    fn a_portion_is_of_whole_lines_where_there_are_any() {
        assert_eq!(portion(b"a\nb"), 3);
        let long = [b'x'; 2 * PORTION];
        assert_eq!(portion(&long), PORTION);
        let mut lines = long;
        (lines[10], lines[100]) = (b'\n', b'\n');
        assert_eq!(portion(&lines), 101);
    }
}
