//! A request that is kept for longer than its bytes.

use httparse::Header;

use super::head::Headers;
use super::request::Request;

/// A copy of a [`Request`], to be kept or given to another thread.
///
/// A request borrows from the bytes that were received, and those are gone after the callback. A copy
/// takes three allocations, however many header fields there are, and costs its bytes and 16 more for
/// each field.
///
/// ```
/// use heartwheel::proto::http::{HeadLimits, Request};
///
/// let input = b"GET /chat?room=1 HTTP/1.1\r\nHost: a\r\nCookie: token=abc\r\n\r\n";
/// let (request, _) = Request::parse(input, &HeadLimits::default())?.expect("a whole head");
/// let kept = request.owned();
/// let found = std::thread::spawn(move || {
///     let request = kept.request();
///     (request.path() == "/chat", request.cookie("token") == Some(b"abc"))
/// });
/// assert_eq!(found.join().expect("it does not panic"), (true, true));
/// # Ok::<(), heartwheel::proto::http::HeadError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRequest {
    /// The method, the target, and the names of the header fields.
    text: Box<str>,
    /// The values of the header fields, and the body.
    data: Box<[u8]>,
    method: usize,
    target: usize,
    version: u8,
    /// The lengths of each name and value.
    fields: Box<[(usize, usize)]>,
}

impl OwnedRequest {
    /// Returns the request, to read it.
    pub fn request(&self) -> Request<'_> {
        let (method, text) = self.text.split_at(self.method);
        let (target, mut names) = text.split_at(self.target);
        let mut data = &*self.data;
        let fields = self.fields.iter().map(|&(name, value)| {
            let field;
            (field, names) = names.split_at(name);
            let content;
            (content, data) = data.split_at(value);
            Header {
                name: field,
                value: content,
            }
        });
        let headers = Headers::new(fields.collect());
        Request::from_parts(method, target, self.version, headers, data)
    }
}

impl Request<'_> {
    /// Copies the request, to be kept or given to another thread.
    pub fn owned(&self) -> OwnedRequest {
        let mut text = [self.method(), self.target()].concat();
        let (mut data, mut fields) = (Vec::new(), Vec::new());
        for (name, value) in self.headers() {
            text.push_str(name);
            data.extend_from_slice(value);
            fields.push((name.len(), value.len()));
        }
        data.extend_from_slice(self.body());
        OwnedRequest {
            text: text.into(),
            data: data.into(),
            method: self.method().len(),
            target: self.target().len(),
            version: self.minor_version(),
            fields: fields.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::proto::http::{Arrival, Exchange, HeadLimits};

    #[test]
    fn a_copy_says_the_same_and_outlives_its_bytes() {
        let mut input = b"POST /a?b=c HTTP/1.1\r\nHost: d\r\nX-Y:  z \r\nEmpty:\r\n\
            Content-Length: 4\r\n\r\nbody"
            .to_vec();
        let (limits, mut exchange) = (HeadLimits::default(), Exchange::default());
        let found = exchange.head(&input, &limits).expect("it is sound");
        let (mut request, len) = found.expect("it is whole");
        let arrival = exchange.complete(&mut request, len, &input, 1_024);
        assert_eq!(arrival, Ok(Arrival::Whole(input.len())));
        let kept = request.owned();
        let headers: Vec<_> = request
            .headers()
            .map(|(name, value)| (name.to_owned(), value.to_vec()))
            .collect();
        input.fill(b'?');
        let again = kept.request();
        assert_eq!((again.method(), again.target()), ("POST", "/a?b=c"));
        assert_eq!((again.minor_version(), again.body()), (1, &b"body"[..]));
        assert_eq!(again.authority(), Some("d"));
        let kept_headers: Vec<_> = again
            .headers()
            .map(|(name, value)| (name.to_owned(), value.to_vec()))
            .collect();
        assert_eq!(kept_headers, headers);
        assert_eq!(again.owned(), kept);
    }
}
