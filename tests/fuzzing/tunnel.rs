//! What a proxy says in: however the bytes are cut, and beside a plain reading of them.

use heartwheel::proto::tunnel::{Proxy, Tunnel, TunnelError};

use super::dice::Dice;

/// Arbitrary bytes as what a proxy says: which proxy and which target, cuts, and the stream. Or as the URL
/// of a proxy.
pub fn tunnel(data: &[u8]) {
    let [choice, seed, stream @ ..] = data else {
        return;
    };
    if choice & 0x80 != 0 {
        return url(&String::from_utf8_lossy(stream));
    }
    let case = Case::of(*choice);
    let whole = case.talk(stream, &mut |most| most);
    let mut dice = Dice::new((*seed).into());
    case.talk(stream, &mut |most| 1 + dice.index(most))
        .assert_like(&whole);
    case.talk(stream, &mut |_| 1).assert_like(&whole);
    case.plainly(stream).assert_like(&whole);
}

/// A proxy, and where its tunnel leads.
struct Case {
    is_http: bool,
    has_user: bool,
    host: &'static str,
    octets: &'static [u8],
}

/// What was said to a proxy, what was used of its words, and whether the tunnel is open.
#[derive(Debug)]
struct Talk {
    said: Vec<u8>,
    used: usize,
    end: Result<bool, TunnelError>,
}

impl Talk {
    /// How much was read is certain only while nothing is wrong.
    fn assert_like(&self, other: &Self) {
        assert_eq!((&self.said, self.end), (&other.said, other.end));
        if self.end.is_ok() {
            assert_eq!(self.used, other.used);
        }
    }
}

impl Case {
    fn of(choice: u8) -> Self {
        let (host, octets): (_, &[u8]) = match choice >> 2 & 3 {
            0 => ("192.0.2.7", &[192, 0, 2, 7]),
            1 => ("::ff", &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255]),
            _ => ("name.example", &[]),
        };
        Self {
            is_http: choice & 1 == 0,
            has_user: choice & 2 != 0,
            host,
            octets,
        }
    }

    /// Reads and writes pieces, whose length is chosen given how long they may be.
    fn talk(&self, stream: &[u8], choose: &mut dyn FnMut(usize) -> usize) -> Talk {
        let scheme = if self.is_http { "http" } else { "socks5h" };
        let user = if self.has_user { "me:secret@" } else { "" };
        let proxy = Proxy::from_url(&format!("{scheme}://{user}proxy.example"));
        let proxy = proxy.expect("a sound url");
        let mut talk = None;
        let counted = allocation_counter::measure(|| {
            let tunnel = Tunnel::new(&proxy, self.host, self.octets, 443);
            talk = Some(follow(tunnel, stream, choose));
        });
        assert!(counted.bytes_max <= 32 * 1024, "{counted:?}");
        talk.expect("it was made")
    }

    /// Reads the stream at once.
    fn plainly(&self, stream: &[u8]) -> Talk {
        match self.is_http {
            true => Talk {
                said: self.connect(),
                used: head_end(stream).unwrap_or(stream.len()),
                end: head_says(stream),
            },
            false => self.plain_socks(stream),
        }
    }

    fn connect(&self) -> Vec<u8> {
        let host = match self.octets.len() {
            16 => format!("[{}]", self.host),
            _ => self.host.to_owned(),
        };
        let user = match self.has_user {
            true => "Proxy-Authorization: Basic bWU6c2VjcmV0\r\n",
            false => "",
        };
        format!("CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n{user}\r\n").into_bytes()
    }

    fn plain_socks(&self, stream: &[u8]) -> Talk {
        let mut said = match self.has_user {
            true => vec![5, 2, 0, 2],
            false => vec![5, 1, 0],
        };
        let mut used = 0;
        let end = self.negotiate(stream, &mut said, &mut used);
        let end = end.map(|is_open| is_open == Some(()));
        if end == Ok(false) {
            used = stream.len();
        }
        Talk { said, used, end }
    }

    /// Goes through what a SOCKS proxy says; nothing if it has not said all.
    fn negotiate(
        &self,
        stream: &[u8],
        said: &mut Vec<u8>,
        used: &mut usize,
    ) -> Result<Option<()>, TunnelError> {
        let Some(method) = pair(stream, used, 5)? else {
            return Ok(None);
        };
        match method {
            0 => {}
            2 if self.has_user => {
                said.extend(b"\x01\x02me\x06secret");
                match pair(stream, used, 1)? {
                    None => return Ok(None),
                    Some(0) => {}
                    Some(_) => return Err(TunnelError::Denied),
                }
            }
            0xff => return Err(TunnelError::NoMethod),
            _ => return Err(TunnelError::Malformed),
        }
        said.extend(self.request());
        let reply = &stream[*used..];
        match *reply {
            [version, ..] if version != 5 => return Err(TunnelError::Malformed),
            [_, code @ 1..=255, ..] => return Err(TunnelError::Reply(code)),
            _ => {}
        }
        let len = match *reply {
            [_, _, _, 1, ..] => 10,
            [_, _, _, 3, len, ..] => 7 + usize::from(len),
            [_, _, _, 4, ..] => 22,
            [_, _, _, 3] | [] | [_] | [_, _] | [_, _, _] => return Ok(None),
            _ => return Err(TunnelError::Malformed),
        };
        *used += len;
        Ok((reply.len() >= len).then_some(()))
    }

    fn request(&self) -> Vec<u8> {
        let addr = match self.octets.len() {
            4 => [&[1], self.octets].concat(),
            16 => [&[4], self.octets].concat(),
            _ => [b"\x03\x0c", self.host.as_bytes()].concat(),
        };
        [&[5, 1, 0], &addr[..], &443_u16.to_be_bytes()].concat()
    }
}

fn follow(mut tunnel: Tunnel, stream: &[u8], choose: &mut dyn FnMut(usize) -> usize) -> Talk {
    let (mut said, mut used) = (Vec::new(), 0);
    let end = loop {
        while !tunnel.output().is_empty() {
            assert_eq!((tunnel.wants(), tunnel.is_open()), (0, false));
            let count = choose(tunnel.output().len());
            said.extend_from_slice(&tunnel.output()[..count]);
            tunnel.handle_written(count);
        }
        if tunnel.is_open() {
            assert_eq!(tunnel.wants(), 0, "all else is the peer's");
            break Ok(true);
        }
        let most = tunnel.wants();
        assert!(most > 0, "it waits for something");
        let rest = &stream[used..];
        if rest.is_empty() {
            break Ok(false);
        }
        let count = choose(most.min(rest.len()));
        used += count;
        if let Err(error) = tunnel.handle_input(&rest[..count]) {
            break Err(error);
        }
    };
    Talk { said, used, end }
}

/// Takes two bytes, the first of which is a version; nothing if they have not come.
fn pair(stream: &[u8], used: &mut usize, version: u8) -> Result<Option<u8>, TunnelError> {
    match stream[*used..] {
        [first, ..] if first != version => Err(TunnelError::Malformed),
        [_, second, ..] => {
            *used += 2;
            Ok(Some(second))
        }
        _ => Ok(None),
    }
}

/// Returns where a head ends that is not too long.
fn head_end(stream: &[u8]) -> Option<usize> {
    let bounded = &stream[..stream.len().min(LONGEST_HEAD)];
    let end = bounded.windows(4).position(|four| four == b"\r\n\r\n");
    end.map(|at| at + 4)
}

fn head_says(stream: &[u8]) -> Result<bool, TunnelError> {
    let end = head_end(stream);
    let head = &stream[..end.unwrap_or(stream.len())];
    let start = head.len().min(7);
    if head[..start] != b"HTTP/1."[..start] {
        return Err(TunnelError::Malformed);
    }
    let Some(_) = end else {
        return match stream.len() < LONGEST_HEAD {
            true => Ok(false),
            false => Err(TunnelError::TooLong),
        };
    };
    let code = match head[7..] {
        [b'0'..=b'9', b' ', a, b, c, b' ' | b'\r', ..] => [a, b, c],
        _ => return Err(TunnelError::Malformed),
    };
    let code = std::str::from_utf8(&code).ok();
    let is_number = |code: &&str| code.bytes().all(|digit| digit.is_ascii_digit());
    let code = code.filter(is_number).and_then(|code| code.parse().ok());
    match code.unwrap_or(0) {
        200..=299 => Ok(true),
        code @ 100..600 => Err(TunnelError::Status(code)),
        _ => Err(TunnelError::Malformed),
    }
}

/// A URL is refused by its field, or names a proxy that can be spoken to. No password is shown.
fn url(text: &str) {
    match Proxy::from_url(text) {
        Err(error) => assert_eq!(error.field(), "proxy"),
        Ok(proxy) => {
            assert!(!proxy.host().is_empty() && proxy.port() != 0);
            let tunnel = Tunnel::new(&proxy, "name.example", &[], 443);
            let head = tunnel.output();
            let is_http = head.starts_with(b"CONNECT ") && head.ends_with(b"\r\n\r\n");
            assert!(is_http || matches!(head, [5, 1, 0] | [5, 2, 0, 2]));
            let has_user = head == [5, 2, 0, 2] || head.windows(8).any(|part| part == b": Basic ");
            assert_eq!(text.contains('@'), has_user, "{text:?}");
        }
    }
}

/// The longest head of an answer to CONNECT.
const LONGEST_HEAD: usize = 8 * 1024;
