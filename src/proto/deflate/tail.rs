//! What every message ends with, but is not sent.

/// What the end of each message would be, if the sender did not remove it (RFC 7692, section 7.2.1):
/// an empty block without compression.
pub(super) const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
