//! Whether a connection stays open after a response (RFC 9112, section 9.3).

use super::request::Request;

/// Whether the connection stays open after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Persistence {
    /// It closes, and the response says so.
    Close,
    /// Another request may follow. This is the default of HTTP/1.1, so the response need not say
    /// it.
    Keep,
    /// Another request may follow, and the response says so to a client with HTTP/1.0.
    KeepAlive,
}

impl Persistence {
    /// Returns whether another request may follow.
    pub const fn keeps(self) -> bool {
        match self {
            Self::Close => false,
            Self::Keep | Self::KeepAlive => true,
        }
    }

    /// Returns the `Connection` field of a response. With an `Upgrade` field it contains `Upgrade`,
    /// too. RFC 9110, section 7.8: who sends Upgrade "MUST also send an "Upgrade" connection
    /// option".
    pub(super) const fn options(self, upgrades: bool) -> Option<&'static str> {
        match (self, upgrades) {
            (Self::Close, false) => Some("close"),
            (Self::Close, true) => Some("close, Upgrade"),
            (Self::Keep, false) => None,
            (Self::Keep, true) => Some("Upgrade"),
            (Self::KeepAlive, false) => Some("keep-alive"),
            (Self::KeepAlive, true) => Some("keep-alive, Upgrade"),
        }
    }
}

impl Request<'_> {
    /// Returns whether the client wants the connection to stay open after the response. The rules
    /// are applied in the order of RFC 9112, section 9.3.
    ///
    /// ```
    /// use heartwheel::proto::http::{HeadLimits, Persistence, Request};
    ///
    /// let input = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    /// let (request, _) = Request::parse(input, &HeadLimits::default())?.expect("a whole head");
    /// assert_eq!(request.persistence(), Persistence::Close);
    /// # Ok::<(), heartwheel::proto::http::HeadError>(())
    /// ```
    pub fn persistence(&self) -> Persistence {
        let names = |option| self.fields().list_has("connection", option);
        if names("close") {
            Persistence::Close
        } else if self.minor_version() > 0 {
            Persistence::Keep
        } else if names("keep-alive") {
            Persistence::KeepAlive
        } else {
            Persistence::Close
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::http::HeadLimits;

    #[test]
    fn http_1_1_goes_on_unless_told_and_http_1_0_only_if_told() {
        for (version, options, expected) in [
            ("1.1", "", Persistence::Keep),
            ("1.1", "Connection: keep-alive\r\n", Persistence::Keep),
            ("1.1", "Connection: Close\r\n", Persistence::Close),
            (
                "1.1",
                "Connection: keep-alive, close\r\n",
                Persistence::Close,
            ),
            (
                "1.1",
                "Connection: x\r\nConnection: ,close\r\n",
                Persistence::Close,
            ),
            ("1.1", "Connection: closed\r\n", Persistence::Keep),
            ("1.0", "", Persistence::Close),
            (
                "1.0",
                "Connection: x, Keep-Alive\r\n",
                Persistence::KeepAlive,
            ),
            (
                "1.0",
                "Connection: keep-alive, close\r\n",
                Persistence::Close,
            ),
        ] {
            let head = format!("GET / HTTP/{version}\r\nHost: a\r\n{options}\r\n");
            let parsed = Request::parse(head.as_bytes(), &HeadLimits::default());
            let (request, _) = parsed.expect("it is sound").expect("it is whole");
            assert_eq!(request.persistence(), expected, "{head}");
        }
    }
}
