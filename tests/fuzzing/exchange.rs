//! Requests one after the other: however their bytes are cut, a server sees the same.

use heartwheel::proto::http::{Arrival, BodyError, Exchange, HeadError, HeadLimits, Persistence};

use super::dice::Dice;

/// What a server saw of one request, or why it is the last.
#[derive(Debug, PartialEq)]
enum Seen {
    Request(String, Vec<u8>, Persistence),
    Head(HeadError),
    Body(BodyError),
}

const MOST_BODY: usize = 100;
const MOST_ANSWERS: u32 = 4;

/// Feeds arbitrary bytes whole and in pieces.
pub(super) fn check_exchange(input: &[u8], limits: &HeadLimits, seed: u64) {
    let mut whole = Server::default();
    whole.receive(input, limits);
    let mut dice = Dice::new(seed);
    let (mut cut, mut rest) = (Server::default(), input);
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(1 + dice.index(rest.len().min(40)));
        cut.receive(piece, limits);
        rest = behind;
    }
    // What is wrong with a head that is not whole is found now and then only.
    let unfinished = &whole.seen[cut.seen.len().min(whole.seen.len())..];
    assert!(matches!(unfinished, [] | [Seen::Head(_)]), "{unfinished:?}");
    assert_eq!(cut.seen, whole.seen[..whole.seen.len() - unfinished.len()]);
    assert_eq!(cut.exchange.answers(), whole.exchange.answers());
    assert!(whole.exchange.answers() <= MOST_ANSWERS);
}

#[derive(Default)]
struct Server {
    exchange: Exchange,
    held: Vec<u8>,
    seen: Vec<Seen>,
    is_over: bool,
}

impl Server {
    fn receive(&mut self, bytes: &[u8], limits: &HeadLimits) {
        self.held.extend_from_slice(bytes);
        while !self.is_over && self.step(limits) {}
    }

    /// Goes on by one request; says whether it was whole.
    fn step(&mut self, limits: &HeadLimits) -> bool {
        let (mut request, len) = match self.exchange.head(&self.held, limits) {
            Ok(Some(found)) => found,
            Ok(None) => return self.wait(),
            Err(error) => return self.end(Seen::Head(error)),
        };
        let arrival = self
            .exchange
            .complete(&mut request, len, &self.held, MOST_BODY);
        let total = match arrival {
            Ok(Arrival::Whole(total)) => total,
            Ok(Arrival::Awaited | Arrival::Invited) => return self.wait(),
            Err(error) => return self.end(Seen::Body(error)),
        };
        assert_eq!(request.body(), &self.held[len..total]);
        let persistence = self.exchange.persistence(&request, MOST_ANSWERS);
        let line = format!("{} {}", request.method(), request.target());
        self.seen
            .push(Seen::Request(line, request.body().to_vec(), persistence));
        self.exchange.answered();
        self.held.drain(..total);
        self.is_over = !persistence.keeps();
        true
    }

    fn wait(&mut self) -> bool {
        self.held.drain(..self.exchange.take_done());
        false
    }

    fn end(&mut self, last: Seen) -> bool {
        self.seen.push(last);
        self.is_over = true;
        false
    }
}
