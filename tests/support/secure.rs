//! `heartwheel serve` over TLS with certificates made for a test, and clients of rustls that talk to it.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;

use heartwheel::rustls::pki_types::{CertificateDer, ServerName};
use heartwheel::rustls::{ClientConfig, ClientConnection, StreamOwned};
use heartwheel::tls::{ClientTls, Pair, Roots, Trust};
use heartwheel::{WireKind, rustls};
use serde_json::Value;

use super::PATIENCE;
use super::certs::{Issued, Root};
use super::place::Place;
use super::process::Process;
use super::program;

/// Certificates in files.
pub(crate) struct Files {
    place: Place,
    pub(crate) root: Root,
}

impl Files {
    /// Makes a root, in the file `root.pem`.
    pub(crate) fn new() -> Self {
        let (place, root) = (Place::new(), Root::new());
        fs::write(place.path().join("root.pem"), root.pem()).unwrap();
        Self { place, root }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        let path: PathBuf = self.place.path().join(name);
        path.into_os_string().into_string().unwrap()
    }

    /// Writes a certificate and its key to `NAME.pem` and `NAME.key`.
    pub(crate) fn put(&self, name: &str, issued: &Issued) {
        fs::write(self.path(&format!("{name}.pem")), &issued.chain).unwrap();
        let key = self.path(&format!("{name}.key"));
        fs::write(&key, &issued.key).unwrap();
        fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Issues a certificate that is valid for 90 days into such files.
    pub(crate) fn issue(&self, name: &str, names: &[&str]) {
        self.put(name, &self.root.issue(names, -1, 90));
    }

    /// Returns the flags that name such files.
    pub(crate) fn flags(&self, name: &str) -> [String; 4] {
        let file = |end: &str| self.path(&format!("{name}.{end}"));
        ["--cert".into(), file("pem"), "--key".into(), file("key")]
    }

    /// Returns a client of ours that believes the root.
    pub(crate) fn client(&self, wire: WireKind) -> ClientTls {
        ClientTls {
            trust: Trust::Roots(Roots::from_pem(self.root.pem().as_bytes()).unwrap()),
            ..ClientTls::for_wire(wire)
        }
    }
}

/// Starts `serve` on a free port with these listeners and flags.
pub(crate) fn serve(listeners: &[&str], flags: &[&[String]]) -> Process {
    let mut args = vec!["serve", "--json"];
    for listener in listeners {
        args.extend([listener, "127.0.0.1:0"]);
    }
    args.extend(flags.iter().copied().flatten().map(String::as_str));
    program::start(&args)
}

/// Returns where it listens for a scheme, such as `wss`.
pub(crate) fn addr(server: &Process, scheme: &str) -> SocketAddr {
    server.wait_for(&format!("listening {scheme}"), |line| {
        let event = line.event("listening");
        let event = event.filter(|event| event["wire"] == scheme)?;
        event["addr"].as_str()?.parse().ok()
    })
}

/// Waits for an event from line `mark` on.
pub(crate) fn wait_event(server: &Process, mark: usize, name: &str) -> Value {
    let pick = |line: &super::process::Line| line.event(name).cloned();
    server.wait_past(mark, name, pick).1
}

/// A client of rustls over a blocking socket.
pub(crate) struct Peer(StreamOwned<ClientConnection, TcpStream>);

impl Peer {
    /// Dials, and shakes hands for a name.
    pub(crate) fn connect(
        addr: SocketAddr,
        config: &Arc<ClientConfig>,
        name: &str,
    ) -> Result<Self, std::io::Error> {
        let stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let conn = ClientConnection::new(Arc::clone(config), name).unwrap();
        let mut peer = Self(StreamOwned::new(conn, stream));
        while peer.0.conn.is_handshaking() {
            peer.0.conn.complete_io(&mut peer.0.sock)?;
        }
        Ok(peer)
    }

    pub(crate) fn local_port(&self) -> u16 {
        self.0.sock.local_addr().unwrap().port()
    }

    pub(crate) fn conn(&self) -> &ClientConnection {
        &self.0.conn
    }

    /// Returns the certificate that the server has shown.
    pub(crate) fn shown(&self) -> CertificateDer<'static> {
        self.0.conn.peer_certificates().unwrap()[0].clone()
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes)?;
        self.0.flush()
    }

    /// Reads what comes next.
    pub(crate) fn read(&mut self) -> std::io::Result<Vec<u8>> {
        let mut buffer = [0; 4096];
        let count = self.0.read(&mut buffer)?;
        Ok(buffer[..count].to_vec())
    }

    /// Answers the pings of a server that speaks lines until the connection ends.
    pub(crate) fn answer_pings(mut self) {
        while let Ok(said) = self.read()
            && !said.is_empty()
        {
            let pings = said.iter().filter(|&&byte| byte == b'G').count();
            if self.write(&b"PONG\n".repeat(pings)).is_err() {
                return;
            }
        }
    }

    /// Sends a line, and expects it back. The server's pings are not answered.
    pub(crate) fn echoes(&mut self, line: &str) {
        self.write(format!("{line}\n").as_bytes()).unwrap();
        let mut read = String::new();
        while !read.contains(&format!("{line}\n")) {
            let more = self.read().unwrap();
            assert!(!more.is_empty(), "it ended: {read:?}");
            read.push_str(&String::from_utf8(more).unwrap());
        }
    }
}

/// Returns the certificate that was issued, as a server shows it.
pub(crate) fn shown(issued: &Issued) -> CertificateDer<'static> {
    pair(issued).certified().cert[0].clone()
}

pub(crate) fn pair(issued: &Issued) -> Pair {
    Pair::from_pem(issued.chain.as_bytes(), issued.key.as_bytes()).unwrap()
}

/// Returns what TLS itself says of an error of a socket.
pub(crate) fn fault(error: &std::io::Error) -> String {
    let inner = error.get_ref();
    let inner = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
    inner.map_or_else(|| error.to_string(), heartwheel::tls::fault_name)
}
