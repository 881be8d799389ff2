//! How many descriptors there may be, and the one that is kept in reserve.

use std::fs::File;
use std::os::fd::AsRawFd;

/// A descriptor held so that there is one left to tell others that there is none.
#[derive(Debug, Default)]
pub(crate) struct Reserve(Option<File>);

impl Reserve {
    /// Sets a descriptor aside, and returns the lowest number that is free then, if there is one.
    pub(crate) fn set_aside(&mut self) -> Option<usize> {
        self.refill();
        let next = spare_descriptor()?;
        Some(usize::try_from(next.as_raw_fd()).unwrap_or(0))
    }

    /// Does what needs a descriptor where there is none left, with this one; `None` if that is gone too.
    pub(crate) fn lend<T>(&mut self, work: impl FnOnce() -> T) -> Option<T> {
        self.refill();
        drop(self.0.take()?);
        let done = work();
        self.refill();
        Some(done)
    }

    /// Says whether there is one.
    #[cfg(test)]
    pub(crate) fn is_there(&self) -> bool {
        self.0.is_some()
    }

    fn refill(&mut self) {
        if self.0.is_none() {
            self.0 = spare_descriptor();
        }
    }
}

/// Opens what costs nothing but a descriptor.
fn spare_descriptor() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Returns how many descriptors the process may have, where that is limited and known.
#[cfg(feature = "sockets")]
pub(crate) fn descriptors() -> Option<usize> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    Some(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// Nobody tells.
#[cfg(not(feature = "sockets"))]
pub(crate) fn descriptors() -> Option<usize> {
    None
}

/// Says whether a socket could not be had for want of descriptors.
pub(crate) fn lacks_descriptors(errno: i32) -> bool {
    // ENFILE and EMFILE, which all systems number alike.
    matches!(errno, 23 | 24)
}

/// What to do about it.
pub(crate) const MORE_DESCRIPTORS: &str =
    "raise the limit with `ulimit -n` (a service: LimitNOFILE)";
