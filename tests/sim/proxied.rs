//! Connections that proxies pass on, on virtual time: headers that come whole, in pieces, too late, broken
//! or not at all. What ought to happen is computed from what each proxy was told to say, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use heartwheel::PeerAddr;
use heartwheel::close::Cause;
use heartwheel::config::{AdmissionConfig, HeartbeatConfig, ProxyConfig, ReactorConfig};
use heartwheel::event_loop::{
    Closed, ConnId, Context, Decision, Handler, ListenerConfig, Offer, Rejected, Rejection,
    Welcome, WireFactory,
};
use heartwheel::proto::message::Message;
use heartwheel::proto::proxy_header::{encode_block, encode_line};
use heartwheel::proto::time::Micros;

use crate::dice::Dice;
use crate::memory::pipe::{Far, Pipe};
use crate::memory::{Memory, MemoryLoop};

const TICK: Micros = Micros::from_millis(10);
const HANDSHAKE: Micros = Micros::from_secs(5);
const PORT: u16 = 1;
/// A proxy's port tells whose connection it passes on.
const FIRST_PORT: u16 = 1_000;

type Cx<'a> = Context<'a, (), Memory<Pipe>>;

/// What comes in front of a connection.
#[derive(Clone, Debug, PartialEq)]
enum Front {
    /// The header of a client.
    Client(SocketAddr),
    /// A header that names nobody: the proxy itself, or a client that it does not know.
    Nobody,
    /// No header, or a broken one; and the rule.
    Broken(&'static str),
    /// A header, from somebody who is no proxy.
    Stranger,
}

/// What a visitor does behind the last piece of what it says.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Then {
    /// It stays a while, and ends its output.
    Leaves,
    /// The header lacks its end, and nothing more comes.
    Waits,
    /// The same, and its output ends.
    Ends,
    /// The same, and it resets the connection.
    Resets,
}

#[derive(Clone, Debug)]
struct Visitor {
    front: Front,
    from: SocketAddr,
    header: Vec<u8>,
    /// When it comes, when each piece of what it says arrives, and when it goes.
    comes: Micros,
    pieces: Vec<(Micros, Vec<u8>)>,
    then: Then,
    goes: Micros,
}

impl Visitor {
    /// When what decides has come: the last byte of the header, or all of what is broken.
    fn settled(&self) -> Micros {
        let mut left = self.header.len();
        for (at, piece) in &self.pieces {
            left = left.saturating_sub(piece.len());
            if left == 0 {
                return *at;
            }
        }
        Micros::MAX
    }

    fn deadline(&self) -> Micros {
        self.comes + HANDSHAKE
    }
}

/// How a connection ended, and what the handler was told of it.
#[derive(Clone, Debug, Default)]
struct Told {
    offered: Vec<PeerAddr>,
    opened: usize,
    heard: usize,
    ends: Vec<(Micros, Cause, PeerAddr, String)>,
}

#[derive(Debug, Default)]
struct Book {
    told: BTreeMap<usize, Told>,
}

impl Book {
    fn of(&mut self, peer: &PeerAddr) -> &mut Told {
        self.told.entry(number_of(peer)).or_default()
    }
}

fn number_of(peer: &PeerAddr) -> usize {
    let own = peer.proxy().unwrap_or(peer);
    let port = own.socket_addr().expect("all come over ip").port();
    usize::from(port - FIRST_PORT)
}

impl Handler<(), Memory<Pipe>> for Book {
    type Data = ();

    fn on_accept(
        &mut self,
        _: &mut Cx<'_>,
        offer: &Offer<'_>,
    ) -> Result<Decision<Welcome<()>>, Rejection> {
        self.of(&offer.peer).offered.push(offer.peer.clone());
        Ok(Welcome::default().into())
    }

    fn on_open(&mut self, cx: &mut Cx<'_>, id: ConnId) {
        let peer = cx.info(id).unwrap().peer;
        self.of(&peer).opened += 1;
    }

    fn on_message(&mut self, cx: &mut Cx<'_>, id: ConnId, message: Message<'_>) {
        let peer = cx.info(id).unwrap().peer;
        let is_header = message.data().starts_with(b"PROXY ");
        assert!(is_header || message.data() == b"hello");
        self.of(&peer).heard += 1;
    }

    fn on_close(&mut self, cx: &mut Cx<'_>, closed: Closed<'_, ()>) {
        let end = (
            cx.now().into(),
            closed.evidence.cause,
            closed.peer.clone(),
            closed.reason.to_owned(),
        );
        self.of(&closed.peer).ends.push(end);
    }

    fn on_rejected(&mut self, cx: &mut Cx<'_>, rejected: Rejected<'_>) {
        let end = (
            cx.now().into(),
            rejected.evidence.cause,
            rejected.peer.clone(),
            rejected.reason.to_owned(),
        );
        self.of(&rejected.peer).ends.push(end);
    }
}

/// What a seed makes of a world.
#[derive(Debug)]
struct World {
    visitors: Vec<Visitor>,
    trusted: Option<&'static str>,
    per_address: u32,
}

/// Throws the dice.
struct Maker {
    dice: Dice,
    /// Nothing happens at the same time as something else.
    taken: BTreeSet<u64>,
    /// Nor when a deadline falls.
    deadlines: Vec<u64>,
}

impl Maker {
    /// Returns a time that is as late as this, in milliseconds, or a little later.
    fn time(&mut self, mut millis: u64) -> Micros {
        let is_near = |millis: u64| move |at: &u64| at.abs_diff(millis) < 50;
        while self.deadlines.iter().any(is_near(millis)) || !self.taken.insert(millis) {
            millis += 1;
        }
        Micros::from_millis(millis)
    }

    fn client(&mut self) -> SocketAddr {
        let host = u8::try_from(1 + self.dice.index(3)).unwrap();
        let ip: IpAddr = match self.dice.one_in(3) {
            // An address counts with its whole network of 64 bits.
            true => Ipv6Addr::new(0x2001, 0xdb8, 0, host.into(), 0, 0, 0, 1).into(),
            false => Ipv4Addr::new(203, 0, 113, host).into(),
        };
        SocketAddr::new(ip, 4_711)
    }

    fn front(&mut self, has_strangers: bool) -> (Front, Vec<u8>) {
        let mut header = Vec::new();
        let server = |client: SocketAddr| match client.is_ipv4() {
            true => SocketAddr::from(([192, 0, 2, 2], 1)),
            false => SocketAddr::from((Ipv6Addr::LOCALHOST, 1)),
        };
        let client = self.client();
        let front = match self.dice.index(8) {
            0..=3 => {
                match self.dice.one_in(2) {
                    true => encode_line(client, server(client), &mut header),
                    false => encode_block(Some(client), server(client), &mut header),
                }
                Front::Client(client)
            }
            4 => {
                match self.dice.one_in(2) {
                    true => header.extend(b"PROXY UNKNOWN\r\n"),
                    false => encode_block(None, server(client), &mut header),
                }
                Front::Nobody
            }
            5 if has_strangers => {
                encode_line(client, server(client), &mut header);
                Front::Stranger
            }
            _ => {
                let (bytes, rule) = self.dice.pick(&BROKEN);
                header.extend(bytes);
                Front::Broken(rule)
            }
        };
        (front, header)
    }

    fn visitor(&mut self, number: usize, has_strangers: bool) -> Visitor {
        let (front, header) = self.front(has_strangers);
        let host = u8::try_from(number + 1).unwrap();
        let ip = match front {
            Front::Stranger => [198, 51, 100, host],
            _ => [10, 0, 0, 1],
        };
        let port = FIRST_PORT + u16::try_from(number).unwrap();
        let comes = 1_000 + self.dice.index(20_000) as u64;
        let comes = self.time(comes);
        let is_whole = matches!(front, Front::Broken(_) | Front::Stranger) || !self.dice.one_in(3);
        let then = match is_whole {
            true => Then::Leaves,
            false => self.dice.pick(&[Then::Waits, Then::Ends, Then::Resets]),
        };
        let mut says = header.clone();
        match is_whole {
            true => says.extend(b"hello\n"),
            false => says.truncate(self.dice.index(header.len())),
        }
        self.deadlines.push((comes + HANDSHAKE).as_micros() / 1_000);
        let pieces = self.pieces(comes, &says);
        let last = pieces.last().map_or(comes, |(at, _)| *at);
        let stays = 100 + self.dice.index(20_000) as u64;
        let goes = self.time((last.as_micros() / 1_000) + stays);
        Visitor {
            front,
            from: (ip, port).into(),
            header,
            comes,
            pieces,
            then,
            goes,
        }
    }

    /// Cuts what is said, mostly into few pieces, at times that follow each other.
    fn pieces(&mut self, comes: Micros, mut says: &[u8]) -> Vec<(Micros, Vec<u8>)> {
        let longest = self.dice.pick(&[1, 300, 300, 1_500]);
        let most = self.dice.pick(&[4, says.len().max(1), says.len().max(1)]);
        let (mut pieces, mut at) = (Vec::new(), comes);
        while !says.is_empty() {
            let (piece, rest) = says.split_at(1 + self.dice.index(most.min(says.len())));
            let gap = self.dice.index(longest) as u64;
            at = self.time(at.as_micros() / 1_000 + 1 + gap);
            pieces.push((at, piece.to_vec()));
            says = rest;
        }
        pieces
    }
}

impl World {
    fn of_seed(seed: u64) -> Self {
        let mut maker = Maker {
            dice: Dice::new(seed),
            taken: BTreeSet::new(),
            deadlines: Vec::new(),
        };
        let trusted = maker.dice.one_in(2).then_some("10.0.0.0/8");
        let count = 1 + maker.dice.index(24);
        let visitors = (0..count)
            .map(|number| maker.visitor(number, trusted.is_some()))
            .collect();
        let per_address = 1 + maker.dice.index(3) as u32;
        Self {
            visitors,
            trusted,
            per_address,
        }
    }

    /// Returns who is open when this visitor's header is whole, from the same address, if all goes well.
    fn is_refused(&self, number: usize, opened: &BTreeSet<usize>) -> bool {
        let ip_of = |front: &Front| match front {
            Front::Client(client) => Some(client.ip()),
            _ => None,
        };
        let (visitor, settled) = (&self.visitors[number], self.visitors[number].settled());
        let Some(ip) = ip_of(&visitor.front) else {
            return false;
        };
        let open = opened.iter().filter(|&&other| {
            let other = &self.visitors[other];
            ip_of(&other.front) == Some(ip) && other.goes > settled
        });
        open.count() >= self.per_address as usize
    }

    /// Returns who opens, in the order in which their headers are whole.
    fn opening(&self) -> BTreeSet<usize> {
        let mut order: Vec<_> = (0..self.visitors.len()).collect();
        order.sort_by_key(|&number| self.visitors[number].settled());
        let mut opened = BTreeSet::new();
        for number in order {
            let visitor = &self.visitors[number];
            let is_in_time = visitor.settled() < visitor.deadline();
            let may_open = matches!(visitor.front, Front::Client(_) | Front::Nobody);
            if is_in_time && may_open && !self.is_refused(number, &opened) {
                opened.insert(number);
            }
        }
        opened
    }

    fn play(&self, seed: u64) -> MemoryLoop<Book, Pipe> {
        let config = ReactorConfig {
            tick: TICK.into(),
            max_connections: 1_000,
            ..ReactorConfig::default()
        };
        let entropy = Box::new(Dice::new(!seed));
        let mut process = MemoryLoop::new(config, Micros::from_secs(1), entropy, Book::default());
        process.inner.listen(self.listener()).unwrap();
        let mut acts = self.acts();
        let mut peers: BTreeMap<usize, Far> = BTreeMap::new();
        acts.sort_by_key(|(at, ..)| *at);
        for (at, number, act) in acts {
            process.run_to(at);
            match act {
                Act::Come => {
                    let (pipe, far) = Pipe::new(number, true);
                    process.memory.come(PORT, self.visitors[number].from, pipe);
                    peers.insert(number, far);
                }
                Act::Say(bytes) => peers[&number].send(bytes),
                Act::End => peers[&number].end(),
                Act::Reset => peers[&number].fail(ECONNRESET),
            }
            process.settle();
        }
        process.run_to(Micros::from_secs(600));
        process
    }

    fn listener(&self) -> ListenerConfig {
        let trusted = self.trusted.iter();
        let addr = SocketAddr::from(([10, 0, 0, 0], PORT));
        ListenerConfig {
            heartbeat: HeartbeatConfig {
                interval: None,
                timeout: None,
                handshake_timeout: HANDSHAKE.into(),
                ..HeartbeatConfig::tcp()
            },
            proxy: ProxyConfig {
                protocol: true,
                trusted: trusted.map(|network| network.parse().unwrap()).collect(),
            },
            admission: AdmissionConfig {
                open_per_address: Some(self.per_address),
                half_open_per_address: None,
                ..AdmissionConfig::default()
            },
            ..ListenerConfig::new(addr, WireFactory::Line)
        }
    }

    fn acts(&self) -> Vec<(Micros, usize, Act<'_>)> {
        let mut acts = Vec::new();
        for (number, visitor) in self.visitors.iter().enumerate() {
            acts.push((visitor.comes, number, Act::Come));
            let says = visitor.pieces.iter();
            acts.extend(says.map(|(at, bytes)| (*at, number, Act::Say(bytes))));
            match visitor.then {
                Then::Waits => {}
                Then::Leaves | Then::Ends => acts.push((visitor.goes, number, Act::End)),
                Then::Resets => acts.push((visitor.goes, number, Act::Reset)),
            }
        }
        acts
    }

    fn judge(&self, process: &MemoryLoop<Book, Pipe>) {
        let opened = self.opening();
        for (number, visitor) in self.visitors.iter().enumerate() {
            let told = &process.handler.told[&number];
            let [(at, cause, peer, reason)] = &told.ends[..] else {
                panic!("{number} ends once: {visitor:?} {told:?}");
            };
            let whole = visitor.settled();
            let is_in_time = whole < visitor.deadline();
            let client = match &visitor.front {
                Front::Client(client) if is_in_time => *client,
                _ => visitor.from,
            };
            let says = format!("{number}: {visitor:?} {told:?}");
            assert_eq!(peer.socket_addr(), Some(client), "{says}");
            assert_eq!(peer.proxy().is_some(), client != visitor.from, "{says}");
            assert!(told.offered.iter().all(|offered| offered == peer), "{says}");
            if visitor.front == Front::Stranger {
                // To the wire its header is a line like others.
                let went_on = (told.opened, told.heard, *cause);
                assert_eq!(went_on, (1, 2, Cause::PeerEof), "{says}");
                continue;
            }
            let opens = opened.contains(&number);
            assert_eq!(
                (told.opened, told.heard),
                (opens.into(), opens.into()),
                "{says}"
            );
            assert_eq!(told.offered.len(), usize::from(opens), "{says}");
            let (expected, when) = match &visitor.front {
                _ if opens => (Cause::PeerEof, visitor.goes),
                // The rule may be broken long before all has come.
                Front::Broken(rule) if *cause == Cause::ProtocolError => {
                    assert_eq!(reason, rule, "{says}");
                    (Cause::ProtocolError, whole.min(visitor.deadline()))
                }
                Front::Broken(_) => {
                    assert!(!is_in_time, "{says}");
                    (Cause::HandshakeTimeout, visitor.deadline())
                }
                _ if is_in_time => (Cause::Refused, whole),
                _ if visitor.goes < visitor.deadline() && visitor.then == Then::Resets => {
                    (Cause::PeerReset, visitor.goes)
                }
                _ if visitor.goes < visitor.deadline() && visitor.then == Then::Ends => {
                    (Cause::PeerEof, visitor.goes)
                }
                _ => (Cause::HandshakeTimeout, visitor.deadline()),
            };
            assert_eq!(*cause, expected, "{says}");
            assert!(
                *cause == Cause::ProtocolError || *at >= when,
                "{at:?}, not {when:?}: {says}"
            );
            assert!(*at <= when + TICK + TICK, "{at:?}, not {when:?}: {says}");
        }
        let stats = process.inner.stats();
        let causes = |wanted: Cause| {
            let ends = process.handler.told.values().flat_map(|told| &told.ends);
            ends.filter(|(_, cause, ..)| *cause == wanted).count() as u64
        };
        for cause in [
            Cause::Refused,
            Cause::ProtocolError,
            Cause::HandshakeTimeout,
        ] {
            assert_eq!(stats.closed(cause), causes(cause), "{cause}");
        }
    }
}

enum Act<'a> {
    Come,
    Say(&'a [u8]),
    End,
    Reset,
}

const ECONNRESET: i32 = 104;

/// What is no header, and the rule.
const BROKEN: [(&[u8], &str); 5] = [
    (b"hello\n", "no header of the proxy protocol"),
    (b"PROXY TCP4 203.0.113.7 192.0.2.2 1 65536\r\n", ADDRESS),
    (b"PROXY TCP4 2001:db8::1 192.0.2.2 1 2\r\n", ADDRESS),
    (
        b"PROXY UDP4 203.0.113.7 192.0.2.2 1 2\r\n",
        "proxy line for an unknown protocol",
    ),
    (
        b"\r\n\r\n\0\r\nQUIT\n\x11\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\0\x01\0\x02",
        "proxy header of version 1, not 2",
    ),
];
const ADDRESS: &str = "proxy line with a malformed address or port";

/// Worlds of this test.
const WORLDS: u64 = 400;

#[test]
fn headers_of_proxies_are_believed_refused_and_waited_for_as_long_as_they_may() {
    let (mut opened, mut refused) = (0, 0);
    for seed in 0..WORLDS {
        eprintln!("seed {seed}");
        let world = World::of_seed(seed);
        let process = world.play(seed);
        world.judge(&process);
        opened += process.inner.stats().opened;
        refused += process.inner.stats().closed(Cause::Refused);
    }
    assert!(
        opened > WORLDS && refused > WORLDS / 4,
        "{opened}, {refused}"
    );
}
