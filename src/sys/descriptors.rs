//! The limit of descriptors, and one descriptor that is kept in reserve.

use std::fs::File;
use std::os::fd::AsRawFd;

/// A descriptor that is kept open. When no other is free, it is used to accept a connection and
/// refuse it.
#[derive(Debug, Default)]
pub(crate) struct Reserve(Option<File>);

impl Reserve {
    /// Opens the reserve. Returns the lowest free descriptor after that, if there is one.
    pub(crate) fn set_aside(&mut self) -> Option<usize> {
        self.refill();
        let next = spare_descriptor()?;
        Some(usize::try_from(next.as_raw_fd()).unwrap_or(0))
    }

    /// Closes the reserve, so that `work` has a free descriptor, and opens it again. `None` if
    /// there is no reserve.
    pub(crate) fn lend<T>(&mut self, work: impl FnOnce() -> T) -> Option<T> {
        self.refill();
        drop(self.0.take()?);
        let done = work();
        self.refill();
        Some(done)
    }

    /// Returns whether the reserve is open.
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

/// Opens a file that uses nothing but a descriptor.
fn spare_descriptor() -> Option<File> {
    File::open("/dev/null").ok()
}

/// Returns the limit of descriptors of this process, if there is one and it is known.
#[cfg(feature = "sockets")]
pub(crate) fn descriptors() -> Option<usize> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current?;
    Some(usize::try_from(limit).unwrap_or(usize::MAX))
}

/// The limit is not known.
#[cfg(not(feature = "sockets"))]
pub(crate) fn descriptors() -> Option<usize> {
    None
}

/// Returns whether a socket could not be opened because no descriptor was free.
pub(crate) fn lacks_descriptors(errno: i32) -> bool {
    // ENFILE and EMFILE, which have the same numbers on all systems.
    matches!(errno, 23 | 24)
}

/// What the user can do about it.
pub(crate) const MORE_DESCRIPTORS: &str =
    "raise the limit with `ulimit -n` (a service: LimitNOFILE)";
