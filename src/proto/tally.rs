//! What a connection is counted to hold, and where it stands among all that hold something.

/// The entry of one connection in a loop's list of holders. A connection that holds nothing has none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    /// Bytes, as they were counted last. Zero: it is not on the list.
    pub(crate) bytes: usize,
    /// The class of the list in which it stands, and its place there.
    pub(crate) class: u8,
    pub(crate) place: u32,
}
