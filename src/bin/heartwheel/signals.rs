//! Signals, as a source of the loop.

use std::io;
use std::mem::MaybeUninit;
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

/// Requests to end: Ctrl-C, a supervisor, or a closed terminal.
pub(crate) struct Signals {
    source: Source,
    id: SourceId,
    count: u32,
}

impl Signals {
    /// Listens to SIGINT and SIGTERM from now on, and to SIGHUP unless it is ignored. An ignored
    /// SIGHUP means that the program must outlive its terminal (`nohup`).
    pub(crate) fn register<D: Default>(reactor: &mut Reactor<D>) -> Result<Self, Failure> {
        let hangup = (!is_ignored(SIGHUP)).then_some(SIGHUP);
        let mut source = Source::new([SIGINT, SIGTERM].into_iter().chain(hangup))
            .map_err(|error| Failure::failed(format!("cannot take signals: {error}")))?;
        let id = reactor.register(&mut source, Interest::READABLE)?;
        Ok(Self {
            source,
            id,
            count: 0,
        })
    }

    /// Returns how often we were asked to end, if `id` is the source of signals.
    pub(crate) fn asked(&mut self, id: SourceId) -> Option<u32> {
        if id != self.id {
            return None;
        }
        if self.count == 0 {
            if self.source.pending().count() == 0 {
                return None;
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
        Some(self.count)
    }

    /// Says whether we were asked again, after the loop has ended.
    pub(crate) fn is_asked(&mut self) -> bool {
        self.source.pending().count() > 0
    }
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
pub(crate) fn run<H: Handler>(
    reactor: &mut Reactor<H::Data>,
    handler: &mut H,
    is_kept: impl Fn(&Reactor<H::Data>, &H) -> bool,
    mut after: impl FnMut(&mut H) -> Option<Duration>,
) -> Result<(), Error> {
    let mut limit = None;
    while !reactor.is_stopped() || is_kept(reactor, handler) {
        reactor.turn(handler, limit)?;
        limit = after(handler);
    }
    Ok(())
}
