//! TLS between socket and session, by rustls (RFC 8446, RFC 5246).
//!
//! rustls holds keys and the state of its handshake; the bytes are ours. They lie in a buffer of the pool
//! while they are read, decrypted or written, so an idle connection holds none. A part of a record that
//! has come is kept until its rest comes, and what the socket did not take until it does.

use std::any::Any;
use std::fmt;
use std::io::{self, IoSlice};
use std::mem;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{ClientConfig, CommonState, HandshakeKind, ProtocolVersion, ServerConfig};

use super::stream::{Layer, LayerFault, Received, Sent, Socket};
use crate::close::Cause;
use crate::proto::pool::Pool;
use crate::tls::fault_name;

/// TLS on one connection: [`Context::tls`](crate::Context::tls) returns it.
///
/// While bytes are under way there is a note of them, and a buffer that the loop's pool lends for each read and
/// each write. A heartbeat allocates three times, 160 bytes in all, and nothing of that stays. What a read or a
/// write leaves unfinished, of a record that has come in part or that the socket did not take, is kept in
/// memory that counts against [`memory_limit`](crate::config::ReactorConfig::memory_limit).
pub struct Tls {
    side: Side,
    is_open: bool,
    /// The peer has said that no more comes.
    is_over: bool,
    /// It has gone wrong, and rustls is not asked any more.
    is_failed: bool,
    /// The last read filled its buffer with long records.
    is_bulky: bool,
    /// Records since the last one that brought the session anything.
    idle_records: u16,
    ending: Ending,
    transit: Option<Box<Transit>>,
}

/// How far the end of the output is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    No,
    /// It is to end behind what is under way.
    Asked,
    Done,
}

/// rustls' part of a connection.
enum Side {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

impl Side {
    /// Shows rustls the input and does the next thing that it asks for.
    fn step(
        &mut self,
        input: &mut [u8],
        out: &mut Vec<u8>,
        take: &mut dyn FnMut(&[u8]),
    ) -> (usize, Result<Step, rustls::Error>) {
        match self {
            Self::Server(conn) => step(conn.process_tls_records(input), out, take),
            Self::Client(conn) => step(conn.process_tls_records(input), out, take),
        }
    }
}

/// Bytes under way. An idle connection has none of this.
#[derive(Debug, Default)]
struct Transit {
    /// From the socket: a part of a record, or of a message of the handshake.
    sealed: Vec<u8>,
    /// So many bytes of `sealed` are whole records of such a message, which have been counted.
    counted: usize,
    /// For the session, which had no room for them.
    plain: Vec<u8>,
    /// What went wrong behind bytes that the session is to have first.
    fault: Option<LayerFault>,
    /// For the socket, from `written` on.
    out: Vec<u8>,
    written: usize,
    /// So many bytes of the session's are in `out`.
    carried: usize,
}

impl Transit {
    fn is_idle(&self) -> bool {
        self.sealed.is_empty()
            && self.plain.is_empty()
            && self.fault.is_none()
            && self.out.is_empty()
            && self.carried == 0
    }
}

impl Tls {
    /// Begins as a server.
    ///
    /// # Errors
    ///
    /// The configuration does not suffice.
    pub fn server(config: &Arc<ServerConfig>) -> io::Result<Self> {
        let conn = UnbufferedServerConnection::new(config.clone());
        let conn = conn.map_err(io::Error::other)?;
        Ok(Self::over(Side::Server(conn)))
    }

    /// Begins as a client of a server with this name.
    ///
    /// # Errors
    ///
    /// The configuration does not suffice.
    pub fn client(config: &Arc<ClientConfig>, name: &ServerName<'static>) -> io::Result<Self> {
        let conn = UnbufferedClientConnection::new(config.clone(), name.clone());
        let conn = conn.map_err(io::Error::other)?;
        Ok(Self::over(Side::Client(conn)))
    }

    /// Returns the version, once it is agreed on.
    pub fn version(&self) -> Option<ProtocolVersion> {
        self.common().protocol_version()
    }

    /// Returns the protocol that both sides have agreed on by ALPN (RFC 7301), if they have: on WebSocket
    /// `http/1.1`.
    pub fn protocol(&self) -> Option<&[u8]> {
        self.common().alpn_protocol()
    }

    /// Returns the peer's certificate and those that came with it, its own first, once it has shown them: a
    /// server always does, a client if the listener asks for one. rustls has checked them as the
    /// configuration demands.
    ///
    /// They stay in memory as long as the connection does. Take what you need, such as a name, in
    /// [`on_accept`](crate::Handler::on_accept).
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        self.common().peer_certificates().unwrap_or_default()
    }

    /// Says whether the handshake was a short one, by a ticket of an earlier connection.
    pub fn is_resumed(&self) -> bool {
        self.common().handshake_kind() == Some(HandshakeKind::Resumed)
    }

    fn common(&self) -> &CommonState {
        match &self.side {
            Side::Server(conn) => conn,
            Side::Client(conn) => conn,
        }
    }

    fn over(side: Side) -> Self {
        Self {
            side,
            is_open: false,
            is_over: false,
            is_failed: false,
            is_bulky: false,
            idle_records: 0,
            ending: Ending::No,
            transit: None,
        }
    }

    fn transit(&mut self) -> &mut Transit {
        self.transit.get_or_insert_default()
    }

    /// Gives up what is not needed while nothing is under way.
    fn rest(&mut self) {
        if self
            .transit
            .as_ref()
            .is_some_and(|transit| transit.is_idle())
        {
            self.transit = None;
        }
    }

    fn fault(&self, error: &rustls::Error) -> LayerFault {
        let cause = match self.is_open || !self.common().is_handshaking() {
            true => Cause::TlsError,
            false => Cause::TlsHandshake,
        };
        LayerFault::new(cause, fault_name(error))
    }

    /// Reads once from the socket, behind what is there of a record, and handles what is whole. Bytes for the
    /// session go to `take` as far as they are no more than `most`, the rest is kept.
    fn receive<K: Socket>(
        &mut self,
        socket: &mut K,
        pool: &mut Pool,
        most: usize,
        take: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Got> {
        let kept = self.take_sealed();
        let end = self.reach(kept.len(), most);
        let mut buffer = pool.take(end);
        buffer[..kept.len()].copy_from_slice(&kept);
        let got = match socket.read(&mut buffer[kept.len()..end]) {
            nothing @ (Ok(0) | Err(_)) => {
                if !kept.is_empty() {
                    self.transit().sealed = kept;
                }
                nothing.map(|_| Got::END)
            }
            Ok(count) => {
                let is_full = kept.len() + count == end;
                let input = &mut buffer[..kept.len() + count];
                let handled = self.handle(input, most, take);
                handled.map(|(session, records)| {
                    self.is_bulky = is_full && records < count / LONG;
                    Got {
                        kernel: count,
                        session,
                        records,
                        is_drained: !is_full && K::SHORT_READ_DRAINS,
                    }
                })
            }
        };
        pool.give(buffer);
        got
    }

    /// Returns where a read ends in its buffer that begins with what is kept. A record takes time however
    /// short it is: who sends short ones is read in small pieces, so that others come in between.
    fn reach(&self, kept: usize, most: usize) -> usize {
        let most = match self.is_open && !self.is_bulky {
            true => FIRST_READ,
            false => most.clamp(RECORD, Pool::LARGEST),
        };
        // The largest buffer of the pool, if that leaves enough.
        (kept + most).min(Pool::LARGEST.max(kept + FIRST_READ))
    }

    /// Handles records, and keeps what is not whole. Returns how many bytes the session got, and how many
    /// records there were.
    fn handle(
        &mut self,
        mut input: &mut [u8],
        most: usize,
        take: &mut dyn FnMut(&[u8]),
    ) -> io::Result<(usize, usize)> {
        let counted = self.transit.as_ref().map_or(0, |transit| transit.counted);
        let (records, end) = whole_records(&input[counted..]);
        let (len, whole) = (input.len(), counted + end);
        let (mut taken, mut has_data) = (0, false);
        loop {
            let mut out = self.take_out();
            let mut kept = Vec::new();
            let mut on_plain = |piece: &[u8]| {
                has_data = true;
                let (now, later) = piece.split_at(piece.len().min(most - taken));
                if !now.is_empty() {
                    take(now);
                    taken += now.len();
                }
                kept.extend_from_slice(later);
            };
            let (discard, stepped) = self.side.step(input, &mut out, &mut on_plain);
            if !kept.is_empty() {
                self.transit().plain.append(&mut kept);
            }
            self.put_out(out);
            input = &mut input[discard..];
            match stepped {
                Ok(Step::Again) => {}
                Ok(Step::PeerClosed) => self.is_over = true,
                Ok(Step::Idle) => break,
                Err(error) => {
                    let fault = self.fault(&error);
                    self.is_failed = true;
                    self.collect_alerts(input);
                    if has_data {
                        self.transit().fault = Some(fault);
                        return Ok((taken, records));
                    }
                    return Err(fault.into());
                }
            }
        }
        let is_kept = !input.is_empty() && !self.is_over;
        if is_kept {
            self.transit().sealed = input.to_vec();
        }
        if let Some(transit) = &mut self.transit {
            transit.counted = match is_kept {
                true => whole - (len - input.len()),
                false => 0,
            };
        }
        self.bear(records, has_data)?;
        Ok((taken, records))
    }

    /// Ends a connection whose records bring nothing, time after time. rustls has limits of its own for some
    /// of them, but each forgets when one of another kind comes in between.
    fn bear(&mut self, records: usize, has_data: bool) -> io::Result<()> {
        if has_data {
            self.idle_records = 0;
            return Ok(());
        }
        let records = u16::try_from(records).unwrap_or(u16::MAX);
        self.idle_records = self.idle_records.saturating_add(records);
        let (most, cause, reason) = match self.is_open {
            true => (IDLE_RECORDS, Cause::TlsError, "empty_records"),
            false => (HANDSHAKE_RECORDS, Cause::TlsHandshake, "too_many_records"),
        };
        if self.idle_records <= most {
            return Ok(());
        }
        Err(LayerFault::new(cause, reason).into())
    }

    /// Puts alerts of ours into the output.
    fn collect_alerts(&mut self, input: &mut [u8]) {
        let mut out = self.take_out();
        while self.common().wants_write() {
            let (_, stepped) = self.side.step(input, &mut out, &mut |_| {});
            if stepped.is_err() {
                break;
            }
        }
        self.put_out(out);
    }

    fn take_out(&mut self) -> Vec<u8> {
        let transit = self.transit.as_mut();
        transit.map_or_else(Vec::new, |transit| mem::take(&mut transit.out))
    }

    fn put_out(&mut self, out: Vec<u8>) {
        if !out.is_empty() {
            self.transit().out = out;
        }
    }

    /// Writes what is under way. Returns how many bytes the kernel took.
    fn flush<K: Socket>(&mut self, socket: &mut K, pool: &mut Pool) -> io::Result<usize> {
        let Some(transit) = &mut self.transit else {
            return Ok(0);
        };
        if transit.out.is_empty() {
            return Ok(0);
        }
        let rest = &transit.out[transit.written..];
        let count = loop {
            match socket.write(&[IoSlice::new(rest)]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                written => break written?,
            }
        };
        transit.written += count;
        if transit.written == transit.out.len() {
            transit.written = 0;
            pool.give_vec(mem::take(&mut transit.out));
        }
        Ok(count)
    }

    /// Says whether bytes of the session's are under way that it has not heard of.
    fn carries(&self) -> bool {
        self.transit
            .as_ref()
            .is_some_and(|transit| transit.carried > 0)
    }

    fn has_output(&self) -> bool {
        self.transit
            .as_ref()
            .is_some_and(|transit| !transit.out.is_empty())
    }

    /// Encrypts as much of the slices as goes into one write. Returns how many of their bytes that is.
    fn seal(&mut self, pool: &mut Pool, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        let most = offered.min(SEALED_AT_ONCE);
        if most == 0 {
            return Ok(0);
        }
        self.raise()?;
        let mut joined = None;
        let plain = match slices.iter().find(|slice| !slice.is_empty()) {
            Some(first) if first.len() >= most => &first[..most],
            Some(_) | None => {
                let mut buffer = pool.take(most);
                join(slices, &mut buffer[..most]);
                &joined.insert(buffer)[..most]
            }
        };
        let sealed = self.encrypt(pool, plain);
        if let Some(buffer) = joined {
            pool.give(buffer);
        }
        sealed.map(|()| most)
    }

    /// Encrypts bytes of the session into the output, which is empty.
    fn encrypt(&mut self, pool: &mut Pool, plain: &[u8]) -> io::Result<()> {
        let mut out = pool.take(plain.len() + plain.len().div_ceil(RECORD) * OVERHEAD);
        let sealed = self.with_traffic(|traffic| {
            let sealed = traffic.encrypt(plain, &mut out);
            let Err(EncryptError::InsufficientSize(size)) = sealed else {
                return sealed;
            };
            // The configuration wants records so short that their heads need more. rustls has to write what
            // it has of its own before it is asked anything else.
            out = vec![0; size.required_size].into_boxed_slice();
            traffic.encrypt(plain, &mut out)
        });
        let Some(Ok(count)) = sealed else {
            // A limit on what one key may encrypt, which rustls renews before it is reached.
            return Err(self.fault(&rustls::Error::EncryptError).into());
        };
        let mut out = out.into_vec();
        out.truncate(count);
        self.transit().out = out;
        Ok(())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match &self.side {
            Side::Server(_) => "server",
            Side::Client(_) => "client",
        };
        f.debug_struct("Tls")
            .field("side", &side)
            .field("is_open", &self.is_open)
            .field("is_over", &self.is_over)
            .finish_non_exhaustive()
    }
}

impl<K: Socket> Layer<K> for Tls {
    fn is_open(&self) -> bool {
        self.is_open
    }

    fn put_back(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.transit().sealed.extend_from_slice(bytes);
        }
    }

    fn open(&mut self, socket: &mut K, pool: &mut Pool) -> io::Result<bool> {
        // What a client says first, and what was read before.
        self.handle_kept()?;
        loop {
            if !self.common().is_handshaking() {
                // What is left of the handshake leaves with what is written first. A write that fails here
                // would cost what the peer has said behind it.
                self.is_open = true;
                self.idle_records = 0;
                self.rest();
                return Ok(true);
            }
            match self.flush(socket, pool) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                flushed => drop(flushed?),
            }
            let mut early = Vec::new();
            match self.receive(socket, pool, RECORD, &mut |piece| {
                early.extend_from_slice(piece)
            }) {
                Ok(Got { kernel: 0, .. }) => {
                    let reason = match self.is_over {
                        true => "close_notify",
                        false => LayerFault::TRUNCATED,
                    };
                    return Err(LayerFault::new(Cause::TlsHandshake, reason).into());
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.rest();
                    return Ok(false);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // The peer is told as far as one write goes.
                    let _ = self.flush(socket, pool);
                    return Err(error);
                }
            }
            if !early.is_empty() {
                let transit = self.transit();
                early.append(&mut transit.plain);
                transit.plain = early;
            }
        }
    }

    fn read(
        &mut self,
        socket: &mut K,
        pool: &mut Pool,
        most: usize,
        take: &mut dyn FnMut(&[u8]),
    ) -> io::Result<Received> {
        if let Some(session) = self.take_plain(most, take) {
            self.rest();
            return Ok(Received::Bytes {
                kernel: 0,
                session,
                records: 0,
                is_drained: false,
            });
        }
        self.raise()?;
        if self.is_over || self.is_failed {
            return Ok(Received::End);
        }
        if self.ending != Ending::No {
            return discard(socket, pool);
        }
        let got = self.receive(socket, pool, most, take);
        let holds = Layer::<K>::holds_bytes(self);
        self.rest();
        let got = got?;
        match got.kernel {
            0 => Ok(Received::Cut),
            // The end is known, and no event tells of it any more.
            _ => Ok(Received::Bytes {
                kernel: got.kernel,
                session: got.session,
                records: got.records,
                is_drained: got.is_drained && !holds && !self.is_over,
            }),
        }
    }

    fn write(
        &mut self,
        socket: &mut K,
        pool: &mut Pool,
        slices: &[IoSlice<'_>],
    ) -> io::Result<Sent> {
        let mut carried = 0;
        if !self.has_output() && !self.carries() {
            carried = self.seal(pool, slices)?;
            if carried > 0 {
                self.transit().carried = carried;
            }
        }
        let kernel = match self.flush(socket, pool) {
            // What is sealed is ours.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            flushed => flushed?,
        };
        let is_whole = !self.has_output();
        let mut session = 0;
        if is_whole && let Some(transit) = &mut self.transit {
            session = mem::take(&mut transit.carried);
            carried = 0;
        }
        self.rest();
        if is_whole {
            self.finish(socket)?;
        }
        Ok(Sent {
            kernel,
            session,
            carried,
            is_refused: !is_whole,
        })
    }

    fn wants_write(&self) -> bool {
        self.has_output()
    }

    fn holds_bytes(&self) -> bool {
        self.transit
            .as_ref()
            .is_some_and(|transit| !transit.plain.is_empty() || transit.fault.is_some())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }

    fn memory(&self) -> usize {
        self.transit.as_ref().map_or(0, |transit| {
            transit.sealed.capacity() + transit.plain.capacity() + transit.out.capacity()
        })
    }

    fn shutdown(&mut self, socket: &mut K, pool: &mut Pool) -> io::Result<()> {
        if self.ending == Ending::No {
            if self.is_open {
                self.say_goodbye();
            }
            self.ending = Ending::Asked;
            // What has come of a record is nobody's any more.
            if let Some(transit) = &mut self.transit {
                transit.sealed = Vec::new();
            }
        }
        match self.flush(socket, pool) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            flushed => drop(flushed?),
        }
        match self.has_output() {
            // It ends behind what is under way.
            true => Ok(()),
            false => {
                self.rest();
                self.finish(socket)
            }
        }
    }
}

impl Tls {
    /// Takes what has come of a record or of a message.
    fn take_sealed(&mut self) -> Vec<u8> {
        let transit = self.transit.as_mut();
        transit.map_or_else(Vec::new, |transit| mem::take(&mut transit.sealed))
    }

    /// Handles what is there without a read: what a client says first, and what was read before.
    fn handle_kept(&mut self) -> io::Result<()> {
        let mut kept = self.take_sealed();
        self.handle(&mut kept, 0, &mut |_| {}).map(drop)
    }

    /// Hands over what the session had no room for. `None` if there is nothing.
    fn take_plain(&mut self, most: usize, take: &mut dyn FnMut(&[u8])) -> Option<usize> {
        let plain = &mut self.transit.as_mut()?.plain;
        let count = plain.len().min(most);
        if count == 0 {
            return None;
        }
        take(&plain[..count]);
        match count == plain.len() {
            true => *plain = Vec::new(),
            false => drop(plain.drain(..count)),
        }
        Some(count)
    }

    /// Tells what went wrong behind bytes that the session has by now.
    fn raise(&mut self) -> Result<(), LayerFault> {
        let transit = self.transit.as_mut();
        match transit.and_then(|transit| transit.fault.take()) {
            Some(fault) => Err(fault),
            None => Ok(()),
        }
    }

    /// Has rustls write something, if the connection is in a state for it.
    fn with_traffic<T>(&mut self, write: impl FnOnce(&mut dyn Traffic) -> T) -> Option<T> {
        if self.is_failed || self.ending != Ending::No {
            return None;
        }
        // What has come of a message stays where rustls has seen it.
        let input = match &mut self.transit {
            Some(transit) => transit.sealed.as_mut_slice(),
            None => &mut [],
        };
        match &mut self.side {
            Side::Server(conn) => match conn.process_tls_records(input).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => Some(write(&mut traffic)),
                Ok(_) | Err(_) => None,
            },
            Side::Client(conn) => match conn.process_tls_records(input).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => Some(write(&mut traffic)),
                Ok(_) | Err(_) => None,
            },
        }
    }

    /// Ends the output, if that is asked for and nothing is under way any more.
    fn finish<K: Socket>(&mut self, socket: &K) -> io::Result<()> {
        match self.ending {
            Ending::No | Ending::Done => Ok(()),
            Ending::Asked => {
                self.ending = Ending::Done;
                socket.shutdown()
            }
        }
    }

    /// Puts our `close_notify` behind what is under way.
    fn say_goodbye(&mut self) {
        let mut alert = [0; OVERHEAD];
        let said = self.with_traffic(|traffic| traffic.queue_close_notify(&mut alert));
        if let Some(Ok(count)) = said {
            self.transit().out.extend_from_slice(&alert[..count]);
        }
    }
}

/// What one read found. No bytes from the kernel are its end.
struct Got {
    kernel: usize,
    session: usize,
    records: usize,
    is_drained: bool,
}

impl Got {
    const END: Self = Self {
        kernel: 0,
        session: 0,
        records: 0,
        is_drained: false,
    };
}

/// What rustls wants next.
enum Step {
    /// To be asked again.
    Again,
    /// The same; the peer has said that no more comes.
    PeerClosed,
    /// More bytes from the socket, or nothing.
    Idle,
}

/// Does what rustls asks for: takes what it has decrypted, and appends to the output what it has to say.
/// Returns how many bytes of the input are done with.
fn step<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    out: &mut Vec<u8>,
    take: &mut dyn FnMut(&[u8]),
) -> (usize, Result<Step, rustls::Error>) {
    let mut discard = status.discard;
    let state = match status.state {
        Ok(state) => state,
        Err(error) => return (discard, Err(error)),
    };
    let step = match state {
        ConnectionState::ReadTraffic(mut traffic) => {
            while let Some(record) = traffic.next_record() {
                match record {
                    Ok(record) => {
                        discard += record.discard;
                        take(record.payload);
                    }
                    Err(error) => return (discard, Err(error)),
                }
            }
            Step::Again
        }
        ConnectionState::EncodeTlsData(mut data) => {
            let len = out.len();
            while let Err(EncodeError::InsufficientSize(size)) = data.encode(&mut out[len..]) {
                out.resize(len + size.required_size, 0);
            }
            Step::Again
        }
        // It is written before anything else, whenever the socket has room.
        ConnectionState::TransmitTlsData(data) => {
            data.done();
            Step::Again
        }
        ConnectionState::PeerClosed => Step::PeerClosed,
        ConnectionState::BlockedHandshake
        | ConnectionState::WriteTraffic(_)
        | ConnectionState::Closed => Step::Idle,
        // Early data is refused by configuration, and later versions may have states of their own.
        _ => Step::Idle,
    };
    (discard, Ok(step))
}

/// What rustls writes, as a server or as a client.
trait Traffic {
    fn encrypt(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, EncryptError>;
    fn queue_close_notify(&mut self, out: &mut [u8]) -> Result<usize, EncryptError>;
}

impl<Data> Traffic for WriteTraffic<'_, Data> {
    fn encrypt(&mut self, plain: &[u8], out: &mut [u8]) -> Result<usize, EncryptError> {
        WriteTraffic::encrypt(self, plain, out)
    }

    fn queue_close_notify(&mut self, out: &mut [u8]) -> Result<usize, EncryptError> {
        WriteTraffic::queue_close_notify(self, out)
    }
}

/// Reads what nobody wants any more, since our goodbye is said: rustls would answer a record that is wrong
/// with an alert behind that, and takes this for a mistake of ours.
fn discard<K: Socket>(socket: &mut K, pool: &mut Pool) -> io::Result<Received> {
    let mut buffer = pool.take(Pool::LARGEST);
    let read = socket.read(&mut buffer);
    let is_short = matches!(read, Ok(count) if count < buffer.len());
    pool.give(buffer);
    Ok(match read? {
        0 => Received::End,
        kernel => Received::Bytes {
            kernel,
            session: 0,
            records: 0,
            is_drained: is_short && K::SHORT_READ_DRAINS,
        },
    })
}

/// Returns how many whole records there are at the front, and where they end.
fn whole_records(bytes: &[u8]) -> (usize, usize) {
    let (mut records, mut end) = (0, 0);
    while let Some(&[_, _, _, high, low]) = bytes[end..].first_chunk() {
        let next = end + HEADER + usize::from(u16::from_be_bytes([high, low]));
        if next > bytes.len() {
            break;
        }
        (records, end) = (records + 1, next);
    }
    (records, end)
}

/// Copies the start of slices to one place.
fn join(slices: &[IoSlice<'_>], out: &mut [u8]) {
    let mut at = 0;
    for slice in slices {
        let count = slice.len().min(out.len() - at);
        out[at..at + count].copy_from_slice(&slice[..count]);
        at += count;
    }
}

/// Bytes in front of each record: its type, a version, its length.
const HEADER: usize = 5;

/// Most bytes of a record with what TLS adds to it (RFC 5246, 6.2.3).
const RECORD: usize = HEADER + 16 * 1024 + 2048;

/// Most bytes of the first read: some 180 records that carry a byte each, or 50 µs.
const FIRST_READ: usize = 4 * 1024;

/// Bytes in which there is no more than one record, where they are long.
const LONG: usize = 512;

/// Most records in a row without anything for the session, such as tickets and new keys: far more than
/// anybody has a use for, and what is kept of them is little.
const IDLE_RECORDS: u16 = 100;

/// Most records of a handshake. The longest message that rustls takes, 64 KiB, may come in pieces of 64
/// bytes, but no smaller ones: each read moves what has come of it.
const HANDSHAKE_RECORDS: u16 = 1024;

/// Bytes that TLS adds to what one record carries, at most.
const OVERHEAD: usize = 256;

/// Bytes of a session that are encrypted for one write. More would keep a ping waiting that comes meanwhile.
const SEALED_AT_ONCE: usize = 32 * 1024;
