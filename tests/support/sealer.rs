//! A client that can seal records which rustls would never send.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use heartwheel::rustls;
use heartwheel::tls::Roots;
use rustls::crypto::cipher::{AeadKey, Iv, MessageEncrypter, OutboundChunks, OutboundPlainMessage};
use rustls::crypto::ring::cipher_suite::{
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS13_AES_256_GCM_SHA384,
};
use rustls::crypto::tls13::{HkdfExpander, OkmBlock};
use rustls::pki_types::ServerName;
use rustls::{
    ClientConfig, ClientConnection, ConnectionTrafficSecrets, ContentType, KeyLog, ProtocolVersion,
    SupportedCipherSuite, SupportedProtocolVersion, Tls13CipherSuite,
};

use super::certs::Root;

/// A peer whose records rustls makes, over a socket that blocks never.
pub(crate) struct Peer {
    stream: TcpStream,
    tls: ClientConnection,
    secret: Arc<Secret>,
}

impl Peer {
    /// Begins as a client of `server.test` that believes the root and speaks this version.
    pub(crate) fn new(
        stream: TcpStream,
        root: &Root,
        version: &'static SupportedProtocolVersion,
    ) -> Self {
        stream.set_nonblocking(true).unwrap();
        stream.set_nodelay(true).unwrap();
        let secret = Arc::new(Secret::default());
        let mut config = config(root, version);
        config.key_log = secret.clone();
        let name = ServerName::try_from("server.test").unwrap();
        let tls = ClientConnection::new(Arc::new(config), name).unwrap();
        Self {
            stream,
            tls,
            secret,
        }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Says whether the handshake is over, and its last bytes have left.
    pub(crate) fn is_open(&self) -> bool {
        !self.tls.is_handshaking() && !self.tls.wants_write()
    }

    /// Says whether rustls waits for more of the handshake.
    pub(crate) fn is_shaking(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Says this when it is pumped next.
    pub(crate) fn say(&mut self, text: &[u8]) {
        self.tls.writer().write_all(text).unwrap();
    }

    /// Writes and reads what can be. Returns what the server has said.
    pub(crate) fn pump(&mut self) -> io::Result<Vec<u8>> {
        while self.tls.wants_write() {
            match self.tls.write_tls(&mut self.stream) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                written => drop(written?),
            }
        }
        let mut plain = Vec::new();
        loop {
            match self.tls.read_tls(&mut self.stream) {
                Ok(0) => return Ok(plain),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(plain),
                read => drop(read?),
            }
            self.tls.process_new_packets().map_err(io::Error::other)?;
            match self.tls.reader().read_to_end(&mut plain) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => drop(read?),
            }
        }
    }

    /// Goes on without rustls: records are sealed by hand.
    pub(crate) fn into_parts(self) -> (TcpStream, Sealer) {
        let sealer = match self.tls.negotiated_cipher_suite().unwrap() {
            SupportedCipherSuite::Tls12(suite) => {
                let (number, secrets) = self.tls.dangerous_extract_secrets().unwrap().tx;
                let ConnectionTrafficSecrets::Aes256Gcm { key, iv } = secrets else {
                    panic!("another suite was offered");
                };
                let (salt, nonce) = iv.as_ref().split_at(4);
                Sealer {
                    encrypter: suite.aead_alg.encrypter(key, salt, nonce),
                    number,
                    next: None,
                }
            }
            SupportedCipherSuite::Tls13(suite) => {
                let secret = OkmBlock::new(&self.secret.0.lock().unwrap());
                Sealer::new(suite, &secret)
            }
        };
        (self.stream, sealer)
    }
}

/// Makes records.
pub(crate) struct Sealer {
    encrypter: Box<dyn MessageEncrypter>,
    number: u64,
    /// What the next keys are made of, where there are any.
    next: Option<(&'static Tls13CipherSuite, OkmBlock)>,
}

impl Sealer {
    fn new(suite: &'static Tls13CipherSuite, secret: &OkmBlock) -> Self {
        let expander = suite.hkdf_provider.expander_for_okm(secret);
        let (mut key, mut iv, mut next) = ([0; 32], [0; 12], vec![0; expander.hash_len()]);
        expand(&*expander, "key", &mut key);
        expand(&*expander, "iv", &mut iv);
        expand(&*expander, "traffic upd", &mut next);
        Self {
            encrypter: suite.aead_alg.encrypter(AeadKey::from(key), Iv::new(iv)),
            number: 0,
            next: Some((suite, OkmBlock::new(&next))),
        }
    }

    pub(crate) fn seal(&mut self, typ: ContentType, payload: &[u8]) -> Vec<u8> {
        let plain = OutboundPlainMessage {
            typ,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(payload),
        };
        let sealed = self.encrypter.encrypt(plain, self.number).unwrap();
        self.number += 1;
        sealed.encode()
    }

    /// A record of the session's bytes, of which there may be none.
    pub(crate) fn data(&mut self, payload: &[u8]) -> Vec<u8> {
        self.seal(ContentType::ApplicationData, payload)
    }

    /// Says that new keys follow, and goes over to them (RFC 8446, 4.6.3).
    pub(crate) fn new_keys(&mut self, wants_answer: bool) -> Vec<u8> {
        let message = [24, 0, 0, 1, wants_answer.into()];
        let record = self.seal(ContentType::Handshake, &message);
        self.renew();
        record
    }

    /// The same in a record for each byte of the message.
    pub(crate) fn new_keys_in_pieces(&mut self) -> Vec<Vec<u8>> {
        let message = [24, 0, 0, 1, 0];
        let pieces = message.map(|byte| self.seal(ContentType::Handshake, &[byte]));
        self.renew();
        pieces.into()
    }

    fn renew(&mut self) {
        let (suite, secret) = self.next.take().unwrap();
        *self = Self::new(suite, &secret);
    }
}

/// `HKDF-Expand-Label` without a context (RFC 8446, 7.1).
fn expand(expander: &dyn HkdfExpander, label: &str, out: &mut [u8]) {
    let len = u16::try_from(out.len()).unwrap().to_be_bytes();
    let label = [b"tls13 ", label.as_bytes()].concat();
    let label_len = [u8::try_from(label.len()).unwrap()];
    let info: [&[u8]; 4] = [&len, &label_len, &label, &[0]];
    expander.expand_slice(&info, out).unwrap();
}

/// Of what the client sends.
#[derive(Debug, Default)]
struct Secret(Mutex<Vec<u8>>);

impl KeyLog for Secret {
    fn log(&self, label: &str, _: &[u8], secret: &[u8]) {
        if label == "CLIENT_TRAFFIC_SECRET_0" {
            *self.0.lock().unwrap() = secret.to_vec();
        }
    }
}

/// Suites whose keys have the 32 bytes that rustls can be given.
fn config(root: &Root, version: &'static SupportedProtocolVersion) -> ClientConfig {
    let provider = rustls::crypto::CryptoProvider {
        cipher_suites: vec![
            TLS13_AES_256_GCM_SHA384,
            TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        ],
        ..rustls::crypto::ring::default_provider()
    };
    let roots = Roots::from_pem(root.pem().as_bytes()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots.store().clone())
        .with_no_client_auth();
    config.enable_secret_extraction = true;
    config
}
