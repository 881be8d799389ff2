//! What a connection keeps of its messages, for later ones to refer to.

/// The last bytes of one direction's messages, as they were before compression.
///
/// It grows with the bytes that it is told. Any end of the true history is a valid window, also an
/// empty one: a sender may forget at any time, a receiver may not.
#[derive(Debug, Default)]
pub(crate) struct Window(Vec<u8>);

impl Window {
    /// Returns the size of a window with so many bits, bytes.
    pub(crate) const fn size(bits: u8) -> usize {
        1 << bits
    }

    /// Appends a message, and forgets what lies further back than a window of so many bits.
    pub(crate) fn push(&mut self, message: &[u8], bits: u8) {
        let size = Self::size(bits);
        let message = &message[message.len().saturating_sub(size)..];
        let kept = self.0.len().min(size - message.len());
        self.0.drain(..self.0.len() - kept);
        let needed = kept + message.len();
        if self.0.capacity() < needed {
            let capacity = needed.max(2 * self.0.capacity()).min(size);
            self.0.reserve_exact(capacity - kept);
        }
        self.0.extend_from_slice(message);
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns how much memory it takes, bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

/// Bits of the largest window there is.
pub(crate) const LARGEST_WINDOW: u8 = 15;
