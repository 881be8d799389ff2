//! The body of a request: its length, and which bodies are not read (RFC 9112, section 6).

use std::error::Error as StdError;
use std::fmt;

use super::request::Request;

impl Request<'_> {
    /// Returns the length of the body after the head, at most `most` bytes.
    ///
    /// The parser has already refused heads whose lengths are invalid or contradict each other.
    /// Without a length there is no body (RFC 9112, section 6.3, item 7).
    ///
    /// # Errors
    ///
    /// The body is longer, or its length is not given.
    ///
    /// ```
    /// use heartwheel::proto::http::{BodyError, HeadLimits, Request};
    ///
    /// let input = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n";
    /// let (request, _) = Request::parse(input, &HeadLimits::default())?.expect("a whole head");
    /// assert_eq!(request.body_len(7), Ok(7));
    /// assert_eq!(request.body_len(6), Err(BodyError::TooLarge { limit: 6 }));
    /// # Ok::<(), heartwheel::proto::http::HeadError>(())
    /// ```
    pub fn body_len(&self, most: usize) -> Result<usize, BodyError> {
        let fields = self.fields();
        if fields.all("transfer-encoding").next().is_some() {
            // The last coding is chunked: the parser has checked that.
            return Err(match fields.list("transfer-encoding").count() {
                1 => BodyError::NoLength,
                _ => BodyError::Coding,
            });
        }
        let Some(len) = fields.all("content-length").next() else {
            return Ok(0);
        };
        // Digits only: the parser has checked that. If the number does not fit, it is too large,
        // too.
        let len = std::str::from_utf8(len)
            .ok()
            .and_then(|len| len.parse().ok());
        len.filter(|&len| len <= most)
            .ok_or(BodyError::TooLarge { limit: most })
    }

    /// Returns whether the client waits for our answer before it sends the body. RFC 9110, section
    /// 10.1.1: "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST
    /// ignore that expectation."
    pub fn expects_continue(&self) -> bool {
        self.minor_version() > 0 && self.fields().list_has("expect", "100-continue")
    }
}

/// Why the body of a request is not read. The connection ends after the response, because we do not
/// know where the next request starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyError {
    /// It is larger than the limit.
    TooLarge {
        /// The limit in force, bytes.
        limit: usize,
    },
    /// It is sent in chunks. RFC 9112, section 6.3: "A server MAY reject a request that contains a
    /// message body but not a Content-Length by responding with 411".
    NoLength,
    /// It is compressed for the transfer, or has another transfer coding. RFC 9112, section 6.1: a
    /// server that does not understand a transfer coding "SHOULD respond with 501".
    Coding,
}

impl BodyError {
    /// Returns the HTTP status of the response: 411, 413 or 501.
    pub const fn status(&self) -> u16 {
        match self {
            Self::TooLarge { .. } => 413,
            Self::NoLength => 411,
            Self::Coding => 501,
        }
    }
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { limit } => write!(f, "body exceeds {limit} bytes"),
            Self::NoLength => f.write_str("a body needs a content-length"),
            Self::Coding => f.write_str("transfer codings are not supported"),
        }
    }
}

impl StdError for BodyError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::http::HeadLimits;

    fn body_len(lines: &str) -> Result<usize, BodyError> {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let parsed = Request::parse(head.as_bytes(), &HeadLimits::default());
        let (request, _) = parsed.expect("it is sound").expect("it is whole");
        request.body_len(100)
    }

    #[test]
    fn a_body_is_as_long_as_its_head_says() {
        for (lines, len) in [
            ("", 0),
            ("Content-Length: 0\r\n", 0),
            ("Content-Length: 100\r\n", 100),
            ("Content-Length: 007\r\nContent-Length: 007\r\n", 7),
        ] {
            assert_eq!(body_len(lines), Ok(len), "{lines}");
        }
    }

    #[test]
    fn a_body_that_is_too_long_or_has_no_length_is_refused() {
        let too_large = BodyError::TooLarge { limit: 100 };
        for (lines, error, status) in [
            ("Content-Length: 101\r\n", too_large, 413),
            ("Content-Length: 18446744073709551616\r\n", too_large, 413),
            ("Transfer-Encoding: chunked\r\n", BodyError::NoLength, 411),
            (
                "Transfer-Encoding: , CHUNKED,\r\n",
                BodyError::NoLength,
                411,
            ),
            (
                "Transfer-Encoding: gzip, chunked\r\n",
                BodyError::Coding,
                501,
            ),
            (
                "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n",
                BodyError::Coding,
                501,
            ),
        ] {
            assert_eq!(body_len(lines), Err(error), "{lines}");
            assert_eq!(error.status(), status);
        }
    }

    #[test]
    fn only_http_1_1_waits_for_word() {
        for (head, expects) in [
            (
                "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n",
                true,
            ),
            ("POST / HTTP/1.1\r\nHost: a\r\nExpect: rain\r\n\r\n", false),
            ("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n", false),
        ] {
            let parsed = Request::parse(head.as_bytes(), &HeadLimits::default());
            let (request, _) = parsed.expect("it is sound").expect("it is whole");
            assert_eq!(request.expects_continue(), expects, "{head}");
        }
    }
}
