//! The requests of one connection, one after the other.

use super::body::BodyError;
use super::error::HeadError;
use super::head::HeadLimits;
use super::persistence::Persistence;
use super::progress::HeadProgress;
use super::request::Request;

/// The state of a server within the requests of one connection (RFC 9112, section 9.3).
///
/// It keeps no bytes: the driver passes the input that is not used up. For each request:
///
/// 1. Ask for the [`head`](Self::head). The driver may answer at once.
/// 2. Otherwise ask whether the body is complete ([`complete`](Self::complete)); it is then in the
///    request.
/// 3. Before you wait for more bytes, drop as many as [`take_done`](Self::take_done) says.
/// 4. After the answer, call [`answered`](Self::answered). Then the next request begins.
///
/// ```
/// use heartwheel::proto::http::{Arrival, Exchange, HeadLimits};
///
/// let (mut exchange, limits) = (Exchange::default(), HeadLimits::default());
/// let mut input = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\n".to_vec();
/// let (mut request, len) = exchange.head(&input, &limits)?.expect("the head is whole");
/// let Arrival::Whole(len) = exchange.complete(&mut request, len, &input, 1024)? else {
///     unreachable!("the body is whole, too");
/// };
/// assert_eq!(request.body(), b"abc");
/// assert!(exchange.persistence(&request, 100).keeps());
/// exchange.answered();
/// input.drain(..len);
/// assert!(exchange.head(&input, &limits)?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    progress: HeadProgress,
    /// Bytes of the request at the front, its body included, once its head is whole and its body is not.
    awaited: usize,
    /// The client was told to go on with that body.
    is_invited: bool,
    answered: u32,
}

/// How much of a request has arrived, once its head is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// All of it: so many bytes of the input, its body included.
    Whole(usize),
    /// Its body is to be waited for.
    Awaited,
    /// The same, and the client is waiting, too: [`CONTINUE`] is to be sent, once.
    Invited,
}

/// The response that tells a client to send the body (RFC 9110, section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl Exchange {
    /// Parses the head of the request at the front of `input`, and returns it with its length in bytes; `None`
    /// while it is not whole, or is known and its body is not.
    ///
    /// # Errors
    ///
    /// As [`Request::parse`]. Nothing can follow.
    pub fn head<'a>(
        &mut self,
        input: &'a [u8],
        limits: &HeadLimits,
    ) -> Result<Option<(Request<'a>, usize)>, HeadError> {
        match self.awaited {
            0 => Request::parse_more(&mut self.progress, input, limits),
            awaited if input.len() < awaited => Ok(None),
            // Judged before, and parsed again: what it borrows from may have moved.
            _ => Request::parse(input, limits),
        }
    }

    /// Looks whether the body is there, of `most` bytes at most, and puts it into the request. `len` is the
    /// length of the head, as [`head`](Self::head) gave it for this `input`.
    ///
    /// # Errors
    ///
    /// The body is not to be read. Nothing can follow.
    pub fn complete<'a>(
        &mut self,
        request: &mut Request<'a>,
        len: usize,
        input: &'a [u8],
        most: usize,
    ) -> Result<Arrival, BodyError> {
        let total = len + request.body_len(most)?;
        if let Some(body) = input.get(len..total) {
            request.set_body(body);
            return Ok(Arrival::Whole(total));
        }
        self.awaited = total - self.progress.done();
        // RFC 9110, 10.1.1: it "MAY omit sending a 100 response if it has already received some or all of
        // the content".
        if request.expects_continue() && !self.is_invited && input.len() == len {
            self.is_invited = true;
            return Ok(Arrival::Invited);
        }
        Ok(Arrival::Awaited)
    }

    /// Returns, once, how many bytes at the front of the input are used up although the request
    /// after them is incomplete. Remove them from the input before the next call.
    pub fn take_done(&mut self) -> usize {
        self.progress.take_done()
    }

    /// Says whether the connection stays open after the answer to this request, if a connection may
    /// have `most` answers.
    pub fn persistence(&self, request: &Request<'_>, most: u32) -> Persistence {
        match self.answered.saturating_add(1) < most {
            true => request.persistence(),
            false => Persistence::Close,
        }
    }

    /// Notes that the first request is answered and removed from the input.
    pub fn answered(&mut self) {
        *self = Self {
            answered: self.answered.saturating_add(1),
            ..Self::default()
        };
    }

    /// Returns how many requests were answered.
    pub fn answers(&self) -> u32 {
        self.answered
    }

    /// Says whether nothing of a request is known.
    pub(crate) fn is_between(&self) -> bool {
        self.awaited == 0 && self.progress.is_fresh()
    }

    /// Returns the length of the request at the front with its body, in bytes, where that is known and it has
    /// not come as a whole; else zero.
    pub fn awaited(&self) -> usize {
        self.awaited
    }
}

#[cfg(test)]
mod tests;
