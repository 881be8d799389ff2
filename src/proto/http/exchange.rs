//! The requests of one connection, one after the other.

use super::body::BodyError;
use super::error::HeadError;
use super::head::HeadLimits;
use super::persistence::Persistence;
use super::progress::HeadProgress;
use super::request::Request;

/// The server's state for the requests of one connection (RFC 9112, section 9.3).
///
/// It keeps no bytes: the caller passes the input that is left. For each request:
///
/// 1. Get the [`head`](Self::head). You may answer at once.
/// 2. Otherwise call [`complete`](Self::complete). If the body has arrived, the request then has it.
/// 3. Before you wait for more bytes, remove as many as [`take_done`](Self::take_done) says.
/// 4. After the response, call [`answered`](Self::answered). Then the next request begins.
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
    /// The length of the first request in the input, with its body, if its head has arrived but its
    /// body has not. Otherwise zero.
    awaited: usize,
    /// We have told the client to send that body.
    is_invited: bool,
    answered: u32,
}

/// How much of a request has arrived, once its head is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// All of it: this many bytes of the input, with the body.
    Whole(usize),
    /// The body has not arrived: wait for more bytes.
    Awaited,
    /// The same, and the client waits for us: send [`CONTINUE`], once.
    Invited,
}

/// The response that tells a client to send the body (RFC 9110, section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl Exchange {
    /// Parses the head of the request at the start of `input`, and returns it with its length in
    /// bytes. `None` if the head is incomplete, or if it was returned before and the body is still
    /// incomplete.
    ///
    /// # Errors
    ///
    /// The same as [`Request::parse`]. No other request can follow.
    pub fn head<'a>(
        &mut self,
        input: &'a [u8],
        limits: &HeadLimits,
    ) -> Result<Option<(Request<'a>, usize)>, HeadError> {
        match self.awaited {
            0 => Request::parse_more(&mut self.progress, input, limits),
            awaited if input.len() < awaited => Ok(None),
            // Parsed before and accepted. It is parsed again, because the bytes it borrows from may
            // have moved.
            _ => Request::parse(input, limits),
        }
    }

    /// Checks whether the body, of at most `most` bytes, has arrived, and puts it into the request.
    /// `len` is the length of the head that [`head`](Self::head) returned for this `input`.
    ///
    /// # Errors
    ///
    /// The body is not read. No other request can follow.
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

    /// Returns, only once, how many bytes at the start of the input are finished although the
    /// request after them is incomplete. Remove them from the input before the next call.
    pub fn take_done(&mut self) -> usize {
        self.progress.take_done()
    }

    /// Returns whether the connection stays open after the response to this request. A connection
    /// has at most `most` responses.
    pub fn persistence(&self, request: &Request<'_>, most: u32) -> Persistence {
        match self.answered.saturating_add(1) < most {
            true => request.persistence(),
            false => Persistence::Close,
        }
    }

    /// Notes that the first request in the input was answered and removed from it.
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

    /// Returns whether nothing of a request has been seen yet.
    pub(crate) fn is_between(&self) -> bool {
        self.awaited == 0 && self.progress.is_fresh()
    }

    /// Returns the length in bytes of the first request in the input, with its body, if its head
    /// has arrived but its body has not. Otherwise zero.
    pub fn awaited(&self) -> usize {
        self.awaited
    }
}

#[cfg(test)]
mod tests;
