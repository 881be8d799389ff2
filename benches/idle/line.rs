//! The socket of a peer, with TLS or without.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use heartwheel::rustls::{ClientConfig, ClientConnection};

use super::secure::NAME;

pub(crate) struct Line {
    pub(crate) socket: OwnedFd,
    tls: Option<Box<ClientConnection>>,
}

impl Line {
    pub(crate) fn new(socket: OwnedFd, tls: Option<&Arc<ClientConfig>>) -> io::Result<Self> {
        let name = || NAME.try_into().map_err(io::Error::other);
        let secure = |config: &Arc<ClientConfig>| {
            let conn = ClientConnection::new(Arc::clone(config), name()?);
            conn.map(Box::new).map_err(io::Error::other)
        };
        let tls = tls.map(secure).transpose()?;
        Ok(Self { socket, tls })
    }

    /// Sends all of it; over TLS once the handshake is complete.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.tls {
            Some(tls) => {
                tls.writer().write_all(bytes)?;
                flush(tls, &self.socket)
            }
            None => write(&self.socket, bytes),
        }
    }

    /// Reads once. Fails with would-block if that brings nothing for the peer.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = &mut self.tls else {
            return Ok(rustix::io::read(&self.socket, buffer)?);
        };
        let mut sealed = [0; 16 * 1024];
        let count = rustix::io::read(&self.socket, &mut sealed)?;
        let mut sealed = &sealed[..count];
        while !sealed.is_empty() {
            tls.read_tls(&mut sealed)?;
            tls.process_new_packets().map_err(io::Error::other)?;
        }
        flush(tls, &self.socket)?;
        tls.reader().read(buffer)
    }
}

fn flush(tls: &mut ClientConnection, socket: &OwnedFd) -> io::Result<()> {
    let mut bytes = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut bytes)?;
    }
    match bytes.is_empty() {
        true => Ok(()),
        false => write(socket, &bytes),
    }
}

/// So little always finds room.
fn write(socket: &OwnedFd, bytes: &[u8]) -> io::Result<()> {
    match rustix::io::write(socket, bytes)? == bytes.len() {
        true => Ok(()),
        false => Err(io::ErrorKind::WriteZero.into()),
    }
}
