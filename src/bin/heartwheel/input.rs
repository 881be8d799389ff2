//! Lines from standard input, read by a separate thread.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, ErrorKind, IsTerminal, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::stdio::stdin;

use crate::Failure;
use crate::stream::{is_end, is_in_background};

/// Lines that were typed and not sent yet.
///
/// While there is no connection they wait: a few here, the rest in the pipe or terminal. After
/// their end the connection goes on, because more messages may arrive.
pub(crate) struct Input {
    shared: Arc<Shared>,
    held: Option<Line>,
}

#[derive(Default)]
struct Shared {
    ahead: Mutex<Ahead>,
    room: Condvar,
}

/// What was read ahead.
#[derive(Default)]
struct Ahead {
    lines: VecDeque<Line>,
    bytes: usize,
}

impl Input {
    /// Starts the thread; it calls `notify` after each line, until that says that nobody is there. Of
    /// lines of more than `most` bytes nothing is kept.
    pub(crate) fn start(
        most: usize,
        notify: impl Fn() -> bool + Send + 'static,
    ) -> Result<Self, Failure> {
        let shared = Arc::new(Shared::default());
        let reader = Arc::clone(&shared);
        let source = BufReader::new(Descriptor {
            is_terminal: io::stdin().is_terminal(),
        });
        thread::Builder::new()
            .name("heartwheel-input".into())
            .spawn(move || reader.read_from(source, most, notify))
            .map_err(|error| Failure::failed(format!("cannot start a thread: {error}")))?;
        Ok(Self { shared, held: None })
    }

    pub(crate) fn next(&mut self) -> Option<Line> {
        self.held.take().or_else(|| self.shared.take())
    }

    pub(crate) fn put_back(&mut self, line: Vec<u8>) {
        self.held = Some(Line::Whole(line));
    }
}

impl Shared {
    /// Reads until there are no more lines, or nobody to take them.
    fn read_from(&self, mut source: impl BufRead, most: usize, notify: impl Fn() -> bool) {
        loop {
            match read_line(&mut source, most) {
                Ok(Some(line)) => self.put(line),
                Ok(None) => return,
                Err(error) => return log::info!("standard input cannot be read: {error}"),
            }
            if !notify() {
                return;
            }
        }
    }

    /// Waits until there is room.
    fn put(&self, line: Line) {
        let mut ahead = self.lock();
        while !ahead.lines.is_empty()
            && (ahead.lines.len() >= MOST_LINES || ahead.bytes + line.len() > MOST_BYTES)
        {
            ahead = self
                .room
                .wait(ahead)
                .unwrap_or_else(PoisonError::into_inner);
        }
        ahead.bytes += line.len();
        ahead.lines.push_back(line);
    }

    fn take(&self) -> Option<Line> {
        let mut ahead = self.lock();
        let line = ahead.lines.pop_front()?;
        ahead.bytes -= line.len();
        self.room.notify_one();
        Some(line)
    }

    fn lock(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line that was typed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Without its end.
    Whole(Vec<u8>),
    /// Longer than any line that can be sent, and skipped.
    TooLong,
}

impl Line {
    fn len(&self) -> usize {
        match self {
            Self::Whole(line) => line.len(),
            Self::TooLong => 0,
        }
    }
}

/// Reads a line, of which no more than `most` bytes and its end are ever held; `None` at the end.
fn read_line(source: &mut impl BufRead, most: usize) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let (mut is_empty, mut is_over) = (true, false);
    while !is_over {
        let bytes = match source.fill_buf() {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            bytes => bytes?,
        };
        if bytes.is_empty() {
            break;
        }
        is_empty = false;
        let end = bytes.iter().position(|&byte| byte == b'\n');
        let taken = end.map_or(bytes.len(), |end| end + 1);
        let (part, room) = (
            &bytes[..end.unwrap_or(taken)],
            (most + 2).saturating_sub(line.len()),
        );
        line.extend_from_slice(&part[..part.len().min(room)]);
        is_over = end.is_some();
        source.consume(taken);
    }
    if is_empty {
        return Ok(None);
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok(Some(match line.len() > most {
        true => Line::TooLong,
        false => Line::Whole(line),
    }))
}

/// Standard input, which may be shared with others, whatever flags they have set on it.
struct Descriptor {
    is_terminal: bool,
}

impl Read for Descriptor {
    /// Waits, however long it takes, and whatever passing error there is meanwhile.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut last_told: Option<Instant> = None;
        loop {
            // An error here is one of the next call, too.
            poll(&mut [PollFd::new(&stdin(), PollFlags::IN)], None).ok();
            if self.is_terminal && is_in_background(stdin()) {
                thread::sleep(PAUSE);
                continue;
            }
            let error = match rustix::io::read(stdin(), &mut *bytes) {
                Ok(read) => return Ok(read),
                Err(errno) => io::Error::from(errno),
            };
            match error.kind() {
                ErrorKind::Interrupted => continue,
                _ if is_end(&error) => return Err(error),
                ErrorKind::WouldBlock => {}
                _ if last_told.is_some_and(|told| told.elapsed() < TROUBLE_PERIOD) => {}
                _ => {
                    last_told = Some(Instant::now());
                    log::warn!("standard input cannot be read now: {error}");
                }
            }
            thread::sleep(PAUSE);
        }
    }
}

/// Lines read ahead.
const MOST_LINES: usize = 64;

/// Their bytes, but for a single longer one.
const MOST_BYTES: usize = 1024 * 1024;

/// Time after which it may be otherwise.
const PAUSE: Duration = Duration::from_millis(100);

/// Shortest time between two log lines about passing errors.
const TROUBLE_PERIOD: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_where_it_does_in_any_text() {
        let whole = |line: &str| Line::Whole(line.into());
        for (text, lines) in [
            ("", vec![]),
            ("\n", vec![whole("")]),
            (
                "a\nb\r\n\nc",
                vec![whole("a"), whole("b"), whole(""), whole("c")],
            ),
            (
                "12345\n123456\r\n12345\r\n",
                vec![whole("12345"), Line::TooLong, whole("12345")],
            ),
            ("1234567890123456789", vec![Line::TooLong]),
        ] {
            for size in [1, 2, 3, 100] {
                let mut source = BufReader::with_capacity(size, text.as_bytes());
                let mut read = Vec::new();
                while let Some(line) = read_line(&mut source, 5).expect("no errors") {
                    read.push(line);
                }
                assert_eq!(read, lines, "{text:?} by {size}");
            }
        }
    }

    #[test]
    fn what_is_read_ahead_is_bounded() {
        let shared = Arc::new(Shared::default());
        let reader = Arc::clone(&shared);
        let text = format!("{}\n", "x".repeat(100_000)).repeat(40);
        let (sender, told) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            reader.read_from(text.as_bytes(), 200_000, || sender.send(()).is_ok());
        });
        let mut taken = 0;
        for _ in 0..40 {
            told.recv_timeout(Duration::from_secs(30)).expect("a line");
            assert!(shared.lock().bytes <= MOST_BYTES);
            taken += usize::from(shared.take().is_some());
        }
        thread.join().expect("it ends");
        assert_eq!(taken, 40);
    }
}
