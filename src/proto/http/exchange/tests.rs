//! Requests one after the other, whole or in pieces.

use proptest::prelude::*;

use super::*;

/// What a server saw of one request, or why it is the last.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Request(String, Vec<u8>, Persistence),
    Invited,
    Head(HeadError),
    Body(BodyError),
}

const MOST_BODY: usize = 64;
const MOST_ANSWERS: u32 = 5;

/// A server that answers whatever is whole, and closes where it must.
#[derive(Default)]
struct Server {
    exchange: Exchange,
    held: Vec<u8>,
    seen: Vec<Seen>,
    is_over: bool,
}

impl Server {
    fn receive(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        while !self.is_over && self.step() {}
    }

    /// Goes on by one request; says whether there may be another.
    fn step(&mut self) -> bool {
        let limits = HeadLimits::default();
        let (seen, used, goes_on) = match self.exchange.head(&self.held, &limits) {
            Ok(None) => {
                self.held.drain(..self.exchange.take_done());
                return false;
            }
            Err(error) => (Seen::Head(error), 0, false),
            Ok(Some((mut request, len))) => {
                match self
                    .exchange
                    .complete(&mut request, len, &self.held, MOST_BODY)
                {
                    Err(error) => (Seen::Body(error), 0, false),
                    Ok(Arrival::Awaited) => {
                        self.held.drain(..self.exchange.take_done());
                        return false;
                    }
                    Ok(Arrival::Invited) => {
                        self.held.drain(..self.exchange.take_done());
                        self.seen.push(Seen::Invited);
                        return false;
                    }
                    Ok(Arrival::Whole(total)) => {
                        let persistence = self.exchange.persistence(&request, MOST_ANSWERS);
                        let line = format!("{} {}", request.method(), request.target());
                        let body = request.body().to_vec();
                        let seen = Seen::Request(line, body, persistence);
                        (seen, total, persistence.keeps())
                    }
                }
            }
        };
        self.seen.push(seen);
        self.exchange.answered();
        self.held.drain(..used);
        self.is_over = !goes_on;
        goes_on
    }
}

fn seen(input: &[u8]) -> Vec<Seen> {
    let mut server = Server::default();
    server.receive(input);
    server.seen
}

fn request(line: &str, body: &str, persistence: Persistence) -> Seen {
    Seen::Request(line.to_owned(), body.as_bytes().to_vec(), persistence)
}

#[test]
fn requests_come_one_after_the_other() {
    let input = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n\
        \r\nPOST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
        GET /c HTTP/1.0\r\nConnection: keep-alive\r\n\r\n\
        GET /d HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n\
        GET /e HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(
        seen(input),
        [
            request("GET /a", "", Persistence::Keep),
            request("POST /b", "abc", Persistence::Keep),
            request("GET /c", "", Persistence::KeepAlive),
            request("GET /d", "", Persistence::Close),
        ]
    );
}

#[test]
fn there_are_only_so_many() {
    let input = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(9);
    let seen = seen(&input);
    let kept = vec![request("GET /", "", Persistence::Keep); 4];
    assert_eq!(
        seen,
        [kept, vec![request("GET /", "", Persistence::Close)]].concat()
    );
}

#[test]
fn who_waits_for_word_gets_it_once() {
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
    let mut server = Server::default();
    server.receive(head);
    assert_eq!(server.seen, [Seen::Invited]);
    server.receive(b"a");
    assert_eq!(server.seen, [Seen::Invited]);
    server.receive(b"b");
    assert_eq!(
        server.seen[1..],
        [request("POST /", "ab", Persistence::Keep)]
    );
    // The next one is asked again, and who sends at once is not.
    server.receive(head);
    assert_eq!(server.seen.last(), Some(&Seen::Invited));
    let whole = [head.as_slice(), b"ab"].concat();
    assert_eq!(seen(&whole), [request("POST /", "ab", Persistence::Keep)]);
}

#[test]
fn a_body_that_is_not_read_is_the_last_of_it() {
    for (field, error) in [
        (
            "Content-Length: 65",
            BodyError::TooLarge { limit: MOST_BODY },
        ),
        ("Transfer-Encoding: chunked", BodyError::NoLength),
        ("Transfer-Encoding: gzip, chunked", BodyError::Coding),
    ] {
        let input = format!(
            "POST / HTTP/1.1\r\nHost: a\r\n{field}\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        assert_eq!(seen(input.as_bytes()), [Seen::Body(error)], "{field}");
    }
}

#[test]
fn the_length_of_a_request_is_known_once_its_head_is_whole() {
    let limits = HeadLimits::default();
    let head = b"\r\n\r\n\r\nPOST / HTTP/1.1\r\nHost: a\r\nContent-Length: 64\r\n\r\n";
    let mut exchange = Exchange::default();
    assert!(exchange.is_between());
    let (mut request, len) = exchange.head(head, &limits).unwrap().unwrap();
    let arrival = exchange.complete(&mut request, len, head, MOST_BODY);
    assert_eq!(arrival, Ok(Arrival::Awaited));
    assert_eq!(exchange.take_done(), 2, "two empty lines are kept");
    assert_eq!(exchange.awaited(), head.len() - 2 + 64);
    assert!(!exchange.is_between());
    exchange.answered();
    assert_eq!((exchange.awaited(), exchange.answers()), (0, 1));
    assert!(exchange.is_between());
}

/// A request as clients of all sorts send it.
fn any_request() -> impl Strategy<Value = Vec<u8>> {
    let fields = prop::sample::select(vec![
        "",
        "Connection: close\r\n",
        "Connection: keep-alive\r\n",
        "Expect: 100-continue\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Content-Length: 1\r\n",
        "No colon\r\n",
    ]);
    let empty_lines = 0..4_usize;
    (
        empty_lines,
        "/[a-z]{0,200}",
        0..2_u8,
        fields,
        "[a-z\r\n]{0,70}",
        0..6_u8,
    )
        .prop_map(|(lines, target, version, field, body, plain)| {
            // Most have nothing special, or little would get behind the first ones.
            let field = if plain < 4 { "" } else { field };
            let mut text = "\r\n".repeat(lines);
            text += &format!("POST {target} HTTP/1.{version}\r\nHost: a\r\n{field}");
            if !body.is_empty() {
                text += &format!("Content-Length: {}\r\n", body.len());
            }
            text += "\r\n";
            text += &body;
            text.into_bytes()
        })
}

proptest! {
    #[test]
    fn however_the_bytes_are_cut_the_same_is_seen(
        requests in prop::collection::vec(any_request(), 1..6),
        cuts in prop::collection::vec(0_usize..2_000, 0..40),
    ) {
        let input = requests.concat();
        let whole = seen(&input);
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % (input.len() + 1)).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let mut server = Server::default();
        for piece in cuts.windows(2) {
            server.receive(&input[piece[0]..piece[1]]);
        }
        // Whether a client is waited for depends on when its body comes.
        server.seen.retain(|seen| *seen != Seen::Invited);
        let expected: Vec<_> = whole.into_iter().filter(|seen| *seen != Seen::Invited).collect();
        prop_assert_eq!(&server.seen, &expected);
        let mut dripped = Server::default();
        for byte in &input {
            dripped.receive(std::slice::from_ref(byte));
        }
        dripped.seen.retain(|seen| *seen != Seen::Invited);
        prop_assert_eq!(dripped.seen, expected);
    }
}
