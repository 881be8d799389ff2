//! Limits how often an incomplete head is parsed, so that the work grows with its length and not
//! with the square of its length.

use super::head::HeadLimits;

/// How much of an incomplete head was parsed.
///
/// Parsing starts at the front each time. If it ran after every byte, a head of 8 KiB would be
/// parsed 8192 times. So it runs when the head may be complete, when its first line is complete,
/// and otherwise only after 64 more bytes. So an error is still found long before the end of a long
/// head.
///
/// Remove from the input what is finished before the head (empty lines before a request, interim
/// responses). It still counts towards the limit.
///
/// ```
/// use heartwheel::proto::http::{HeadLimits, HeadProgress, Request};
///
/// let (limits, mut progress) = (HeadLimits::default(), HeadProgress::default());
/// let mut input = b"\r\n\r\nGET / HTTP/1.1\r\nHo".to_vec();
/// assert!(Request::parse_more(&mut progress, &input, &limits)?.is_none());
/// input.drain(..progress.take_done());
/// input.extend_from_slice(b"st: a\r\n\r\n");
/// let (request, len) = Request::parse_more(&mut progress, &input, &limits)?.expect("a whole head");
/// assert_eq!((request.path(), len), ("/", input.len()));
/// # Ok::<(), heartwheel::proto::http::HeadError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadProgress {
    /// Bytes of the input that were searched for the end of the head.
    searched: usize,
    /// The length of the input when it was last parsed.
    parsed: usize,
    /// Bytes before the head that are finished. They count towards the limit.
    gone: usize,
    /// Bytes at the start of the input that are finished and not yet removed.
    done: usize,
    /// The first line is complete.
    has_line: bool,
}

impl HeadProgress {
    /// Returns, only once, how many bytes at the start of the input are finished although the head
    /// after them is incomplete. Remove them from the input before the next call.
    pub fn take_done(&mut self) -> usize {
        std::mem::take(&mut self.done)
    }

    /// Returns how many bytes at the start of the input are to be removed.
    pub(super) fn done(&self) -> usize {
        self.done
    }

    /// Notes that the last parsing could not tell what the bytes are. The next bytes may tell.
    pub(super) fn look_again(&mut self) {
        self.parsed = 0;
    }

    /// Returns whether nothing of a head has been seen yet.
    pub(crate) fn is_fresh(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the limits without the bytes that are already finished.
    pub(super) fn left(&self, limits: &HeadLimits) -> HeadLimits {
        HeadLimits {
            max_bytes: limits.max_bytes.saturating_sub(self.gone),
            ..*limits
        }
    }

    /// Notes that the first `len` bytes, a head or empty lines, are finished. Another head begins
    /// after them.
    pub(super) fn pass(&mut self, len: usize) {
        if len > 0 {
            *self = Self {
                gone: self.gone + len,
                done: self.done + len,
                ..Self::default()
            };
        }
    }

    /// Returns whether to parse the head at the start of `input` now. If so, notes its length.
    pub(super) fn is_due(&mut self, input: &[u8], limits: &HeadLimits) -> bool {
        let most = self.left(limits).max_bytes;
        if input.is_empty() {
            return most == 0;
        }
        let is_first = self.parsed == 0;
        let mut is_due = is_first || input.len() >= self.parsed + STEP || input.len() >= most;
        let start = self.searched.max(empty_lines(input));
        for at in start..input.len() {
            if input[at] == b'\n' {
                let is_empty = input[..at].ends_with(b"\n") || input[..at].ends_with(b"\n\r");
                is_due |= is_empty || !self.has_line;
                self.has_line = true;
            }
        }
        self.searched = input.len();
        if is_due {
            self.parsed = input.len();
        }
        is_due
    }
}

/// Returns how many bytes at the start are empty lines that can be removed. Two lines are kept,
/// because another protocol may start with them.
pub(super) fn spent_lines(input: &[u8]) -> usize {
    empty_lines(input).saturating_sub(b"\r\n\r\n".len())
}

/// Returns how many bytes at the start are empty lines. RFC 9112, section 2.2: a server "SHOULD
/// ignore at least one empty line (CRLF) received prior to the request-line".
fn empty_lines(input: &[u8]) -> usize {
    let lines = input.chunks_exact(2).take_while(|line| line == b"\r\n");
    2 * lines.count()
}

/// Bytes that must arrive before an incomplete head is parsed again.
const STEP: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds bytes one by one; returns how often they were looked at.
    fn looks(input: &[u8]) -> usize {
        let (limits, mut progress) = (HeadLimits::default(), HeadProgress::default());
        let due = |len: usize| progress.is_due(&input[..len], &limits);
        (1..=input.len()).map(due).filter(|&is_due| is_due).count()
    }

    #[test]
    fn a_head_of_single_bytes_is_looked_at_once_in_a_while() {
        let line = format!("GET /{} HTTP/1.1\r\n", "a".repeat(8_000));
        assert!(looks(line.as_bytes()) <= 8_192 / STEP + 3);
        let short = "a:\r\n".repeat(2_000);
        assert!(looks(short.as_bytes()) <= 8_192 / STEP + 3);
        assert_eq!(looks(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"), 3);
    }

    #[test]
    fn a_look_is_due_where_a_decision_may_be() {
        let (limits, fresh) = (HeadLimits::default(), HeadProgress::default());
        // Whatever comes first.
        let mut progress = fresh;
        assert!(!progress.is_due(b"", &limits));
        assert!(progress.is_due(b"\x16\x03", &limits));
        assert!(!progress.is_due(b"\x16\x03\x01", &limits));
        // The first line, however it ends, and the end of the head.
        assert!(progress.is_due(b"\x16\x03\x01\n", &limits));
        assert!(!progress.is_due(b"\x16\x03\x01\nA: b\r\n\r", &limits));
        assert!(progress.is_due(b"\x16\x03\x01\nA: b\r\n\r\n", &limits));
        let mut progress = fresh;
        assert!(progress.is_due(b"A\nB", &limits));
        assert!(!progress.is_due(b"A\nB\n", &limits));
        assert!(progress.is_due(b"A\nB\n\n", &limits));
        // A step, and the limit.
        let (mut progress, bytes) = (fresh, [b'a'; 200]);
        assert!(progress.is_due(&bytes[..1], &limits));
        assert!(!progress.is_due(&bytes[..STEP], &limits));
        assert!(progress.is_due(&bytes[..=STEP], &limits));
        let tight = HeadLimits {
            max_bytes: 100,
            ..limits
        };
        assert!(!progress.is_due(&bytes[..99], &tight));
        assert!(progress.is_due(&bytes[..100], &tight));
    }

    #[test]
    fn what_is_gone_counts_towards_the_limit() {
        let (limits, mut progress) = (HeadLimits::default(), HeadProgress::default());
        progress.pass(8_000);
        assert_eq!(progress.take_done(), 8_000);
        assert_eq!(progress.take_done(), 0);
        assert!(!progress.is_fresh());
        assert!(progress.is_due(b"a", &limits));
        assert!(!progress.is_due(&[b'a'; 64], &limits));
        assert_eq!(progress.left(&limits).max_bytes, 192);
        progress.pass(8_000);
        assert_eq!(progress.left(&limits).max_bytes, 0);
        assert!(progress.is_due(b"", &limits), "there is no room for more");
    }
}
