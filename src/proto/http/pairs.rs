//! Names with values in a request: its cookies, and the parameters of its query.

use std::borrow::Cow;

use super::request::Request;

impl Request<'_> {
    /// Returns the cookies, name and value, in the order in which they were sent.
    ///
    /// The value may be any bytes but control characters and semicolons: a client may send what no
    /// server has set. Quotes around a value are part of it, and nothing is decoded (RFC 6265, section
    /// 5.4). Parts without `=` or without a name are skipped. A client sends one `Cookie` field; if
    /// there are more, all are read.
    ///
    /// ```
    /// use heartwheel::proto::http::{HeadLimits, Request};
    ///
    /// let input = b"GET / HTTP/1.1\r\nHost: a\r\nCookie: theme=dark; token=31d4=\r\n\r\n";
    /// let (request, _) = Request::parse(input, &HeadLimits::default())?.expect("a whole head");
    /// let names: Vec<_> = request.cookies().map(|(name, _)| name).collect();
    /// assert_eq!(names, [&b"theme"[..], b"token"]);
    /// assert_eq!(request.cookie("token"), Some(&b"31d4="[..]));
    /// # Ok::<(), heartwheel::proto::http::HeadError>(())
    /// ```
    pub fn cookies(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields()
            .all("cookie")
            .flat_map(|value| value.split(|&byte| byte == b';'))
            .filter_map(cookie_pair)
    }

    /// Returns the value of the first cookie with this name. Upper and lower case differ.
    ///
    /// Two cookies may have the same name, for different paths. Browsers send the one with the longer
    /// path first, but RFC 6265, section 4.2.2, warns servers not to rely on that. A page of a sibling
    /// domain can set a cookie with the name of yours.
    pub fn cookie(&self, name: &str) -> Option<&[u8]> {
        let mut cookies = self.cookies();
        let found = cookies.find(|(other, _)| *other == name.as_bytes());
        found.map(|(_, value)| value)
    }

    /// Returns the parameters of the query, name and value, in their order, as HTML forms encode them
    /// (`application/x-www-form-urlencoded`, as the URL standard parses it).
    ///
    /// `+` is a space, and `%2B` a plus. A `%` without two hexadecimal digits stays as it is. Escaped
    /// bytes that are not UTF-8 become U+FFFD. A parameter without `=` has an empty value. Empty parts
    /// are skipped. [`query`](Self::query) returns the query as it was sent.
    ///
    /// ```
    /// use heartwheel::proto::http::{HeadLimits, Request};
    ///
    /// let input = b"GET /chat?room=caf%C3%A9+bar&quiet HTTP/1.1\r\nHost: a\r\n\r\n";
    /// let (request, _) = Request::parse(input, &HeadLimits::default())?.expect("a whole head");
    /// let pairs: Vec<_> = request.query_pairs().collect();
    /// assert_eq!(pairs, [("room".into(), "café bar".into()), ("quiet".into(), "".into())]);
    /// assert_eq!(request.query_value("room").as_deref(), Some("café bar"));
    /// # Ok::<(), heartwheel::proto::http::HeadError>(())
    /// ```
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        let query = self.query().unwrap_or_default();
        query
            .split('&')
            .filter(|part| !part.is_empty())
            .map(|part| {
                let (name, value) = part.split_once('=').unwrap_or((part, ""));
                (decode(name), decode(value))
            })
    }

    /// Returns the value of the first parameter of the query with this name.
    pub fn query_value(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut pairs = self.query_pairs();
        let found = pairs.find(|(other, _)| other == name);
        found.map(|(_, value)| value)
    }
}

/// Splits one part of a `Cookie` field.
fn cookie_pair(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = part.iter().position(|&byte| byte == b'=')?;
    let (name, value) = (part[..at].trim_ascii(), part[at + 1..].trim_ascii());
    (!name.is_empty()).then_some((name, value))
}

/// Decodes a name or value of a query.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| escape(tail)).flatten();
        bytes.push(match (byte, escaped) {
            (_, Some(escaped)) => escaped,
            (b'+', None) => b' ',
            (byte, None) => byte,
        });
        rest = match escaped {
            Some(_) => &tail[2..],
            None => tail,
        };
    }
    let text = String::from_utf8_lossy(&bytes);
    Cow::Owned(text.into_owned())
}

/// Returns the byte that the two hexadecimal digits in front stand for.
fn escape(digits: &[u8]) -> Option<u8> {
    let [high, low] = digits
        .first_chunk()?
        .map(|digit| char::from(digit).to_digit(16));
    u8::try_from(high? * 16 + low?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::http::HeadLimits;

    type Pairs<'a> = &'a [(&'a [u8], &'a [u8])];

    #[track_caller]
    fn with(head: &[u8], look: impl FnOnce(&Request<'_>)) {
        let parsed = Request::parse(head, &HeadLimits::default()).expect("it is sound");
        look(&parsed.expect("it is whole").0);
    }

    #[test]
    fn cookies_are_read_as_clients_send_them() {
        let cases: [(&[u8], Pairs<'_>); 10] = [
            (b"", &[]),
            (b"Cookie:\r\n", &[]),
            (b"Cookie: a=b\r\n", &[(b"a", b"b")]),
            (b"Cookie: a=b; c=d\r\n", &[(b"a", b"b"), (b"c", b"d")]),
            // Without blanks, with too many, and with empty parts.
            (b"Cookie: a=b;c = d ;; ;\r\n", &[(b"a", b"b"), (b"c", b"d")]),
            // Only the first sign of equality divides.
            (b"Cookie: a=b=c==; d=\r\n", &[(b"a", b"b=c=="), (b"d", b"")]),
            // No name, or no sign of equality.
            (b"Cookie: =a; b; c=d\r\n", &[(b"c", b"d")]),
            (
                b"Cookie: a=\"b c\"; d=%20+\r\n",
                &[(b"a", b"\"b c\""), (b"d", b"%20+")],
            ),
            (b"Cookie: a=\xff\r\n", &[(b"a", b"\xff")]),
            (
                b"cookie: a=1\r\nCOOKIE: a=2\r\n",
                &[(b"a", b"1"), (b"a", b"2")],
            ),
        ];
        for (fields, expected) in cases {
            let head = [b"GET / HTTP/1.1\r\nHost: a\r\n", fields, b"\r\n"].concat();
            with(&head, |request| {
                let found: Vec<_> = request.cookies().collect();
                assert_eq!(found, expected, "{}", fields.escape_ascii());
                let first = expected.iter().find(|(name, _)| *name == b"a");
                assert_eq!(request.cookie("a"), first.map(|&(_, value)| value));
                assert_eq!(request.cookie("A"), None);
            });
        }
    }

    #[test]
    fn a_query_is_read_as_the_url_standard_reads_it() {
        let cases: [(&str, &[(&str, &str)]); 12] = [
            ("/", &[]),
            ("/?", &[]),
            ("/?a", &[("a", "")]),
            ("/?a=b&c=d", &[("a", "b"), ("c", "d")]),
            ("/?&&a=b&", &[("a", "b")]),
            ("/?=b&=", &[("", "b"), ("", "")]),
            ("/?a=b=c?d", &[("a", "b=c?d")]),
            ("/?a+b=c+%2B%26%3D", &[("a b", "c +&=")]),
            ("/?a=%C3%A9%c3%a9", &[("a", "éé")]),
            // What is no escape stays, also at the end and within a character.
            (
                "/?a=%&b=%4&c=%zz%é",
                &[("a", "%"), ("b", "%4"), ("c", "%zz%é")],
            ),
            // Not UTF-8.
            ("/?a=%ff%C3", &[("a", "\u{fffd}\u{fffd}")]),
            ("http://h?a=b#c", &[("a", "b#c")]),
        ];
        for (target, expected) in cases {
            let head = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
            with(head.as_bytes(), |request| {
                let pairs: Vec<_> = request.query_pairs().collect();
                let found: Vec<_> = pairs
                    .iter()
                    .map(|(name, value)| (&**name, &**value))
                    .collect();
                assert_eq!(found, expected, "{target}");
                let first = expected.iter().find(|(name, _)| *name == "a");
                assert_eq!(
                    request.query_value("a").as_deref(),
                    first.map(|&(_, value)| value)
                );
            });
        }
    }
}
