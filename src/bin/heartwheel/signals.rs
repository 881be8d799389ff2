//! Signals, as a source of the loop.

use std::fs::OpenOptions;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::OpenOptionsExt;
use std::ptr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use heartwheel::error::Error;
use heartwheel::reactor::{Handler, Reactor, SourceId};
use mio::Interest;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook_mio::v1_0::Signals as Source;

use crate::Failure;

/// Requests to end: Ctrl-C, a supervisor, or a closed terminal. And those to read files again.
pub(crate) struct Signals {
    source: Source,
    id: SourceId,
    count: u32,
    hangup: Hangup,
}

/// What SIGHUP means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hangup {
    /// That the terminal is closed, or a supervisor wants us to end.
    End,
    /// That files are to be read again, unless there was a terminal at the start and it is closed now.
    Reload { ends_with_terminal: bool },
}

/// What signals ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    /// To end, so many times by now.
    End(u32),
    /// To read files again.
    Reload,
}

impl Signals {
    /// Listens to SIGINT and SIGTERM from now on, and to SIGHUP unless it is ignored. An ignored
    /// SIGHUP means that the program must outlive its terminal (`nohup`).
    pub(crate) fn register<D: Default, C: Send + 'static>(
        reactor: &mut Reactor<D, C>,
    ) -> Result<Self, Failure> {
        let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
        Self::listen(reactor, hangup, Hangup::End)
    }

    /// The same for a program that has files to read again: SIGHUP asks for that, even if it was ignored.
    pub(crate) fn register_to_reload<D: Default, C: Send + 'static>(
        reactor: &mut Reactor<D, C>,
    ) -> Result<Self, Failure> {
        let ends_with_terminal = !is_ignored(SIGHUP) && has_terminal();
        Self::listen(reactor, Some(SIGHUP), Hangup::Reload { ends_with_terminal })
    }

    fn listen<D: Default, C: Send + 'static>(
        reactor: &mut Reactor<D, C>,
        hangup: Option<i32>,
        meaning: Hangup,
    ) -> Result<Self, Failure> {
        let mut source = Source::new([SIGINT, SIGTERM].into_iter().chain(hangup))
            .map_err(|error| Failure::failed(format!("cannot take signals: {error}")))?;
        let id = reactor.register(&mut source, Interest::READABLE)?;
        Ok(Self {
            source,
            id,
            count: 0,
            hangup: meaning,
        })
    }

    /// Returns what we were asked for, if `id` is the source of signals.
    pub(crate) fn asked(&mut self, id: SourceId) -> Option<Wish> {
        if id != self.id {
            return None;
        }
        if self.count == 0 {
            let signals: Vec<_> = self.source.pending().collect();
            if signals.is_empty() {
                return None;
            }
            if signals == [SIGHUP] && self.hangup.is_reload() {
                return Some(Wish::Reload);
            }
            // `timeout` and others signal a process and then its group: both mean one wish. Nobody can
            // have seen us react yet, so what comes within this moment is no answer to it.
            thread::sleep(TOGETHER);
            self.source.pending().for_each(drop);
        } else if self.source.pending().all(|signal| signal == SIGHUP) {
            // Nobody insists by hanging up: a shell and the kernel may both tell of the same terminal.
            return None;
        }
        self.count += 1;
        Some(Wish::End(self.count))
    }

    /// Says whether we were asked again, after the loop has ended.
    pub(crate) fn is_asked(&mut self) -> bool {
        self.source.pending().count() > 0
    }
}

impl Hangup {
    /// Says whether a hangup that has just come asks for files to be read again.
    fn is_reload(self) -> bool {
        match self {
            Self::End => false,
            Self::Reload { ends_with_terminal } => !ends_with_terminal || has_terminal(),
        }
    }
}

/// Says whether there is a terminal that we belong to. After the kernel's hangup there is none any more.
fn has_terminal() -> bool {
    let mut options = OpenOptions::new();
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
    options
        .read(true)
        .custom_flags(flags)
        .open("/dev/tty")
        .is_ok()
}

/// Makes a write beyond the size limit of a file (`ulimit -f`) fail like any other. Otherwise the
/// signal would end the program, and every connection, because of a full log file.
pub(crate) fn bear_full_files() -> io::Result<()> {
    flag::register(SIGXFSZ, Arc::default()).map(drop)
}

/// Says whether whoever started us had this signal ignored.
#[allow(unsafe_code, reason = "sigaction has no safe wrapper that only asks")]
fn is_ignored(signal: i32) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: without a new action nothing is changed; the old one is written to memory of its type, and
    // read only where the call says that it was.
    unsafe {
        libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) == 0
            && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// Signals this close together are one.
const TOGETHER: Duration = Duration::from_millis(2);

/// Turns the loop until it is stopped and nothing keeps it; `after` sees to what is due once a turn.
pub(crate) fn run<C: Send + 'static, H: Handler<C>>(
    reactor: &mut Reactor<H::Data, C>,
    handler: &mut H,
    is_kept: impl Fn(&Reactor<H::Data, C>, &H) -> bool,
    mut after: impl FnMut(&mut H) -> Option<Duration>,
) -> Result<(), Error> {
    let mut limit = None;
    while !reactor.is_stopped() || is_kept(reactor, handler) {
        reactor.turn(handler, limit)?;
        limit = after(handler);
    }
    Ok(())
}
