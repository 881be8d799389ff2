//! Handshakes in memory between what is made here, and with what is not.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, Connection, Error, HandshakeKind, ProtocolVersion,
    ServerConfig, ServerConnection, SupportedProtocolVersion,
};

use super::*;
use crate::certs::{Issued, Root, unix};
use crate::config::WireKind;

/// Reads what was issued.
pub(super) fn made(issued: &Issued) -> Pair {
    Pair::from_pem(issued.chain.as_bytes(), issued.key.as_bytes()).expect("a pair")
}

/// Makes a valid pair for these names.
pub(super) fn pair(names: &[&str]) -> Pair {
    made(&Root::new().issue(names, -1, 90))
}

/// Returns a day counted from today.
pub(super) fn days(days: i64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(unix(days)))
}

/// A server of one name, and who believes it.
struct World {
    root: Root,
    server: ServerTls,
    client: ClientTls,
}

impl World {
    fn new() -> Self {
        let root = Root::new();
        let pair = made(&root.issue(&["a.example"], -1, 90));
        Self {
            server: ServerTls::new(Certificates::new(vec![pair]).expect("a pair"), WIRE),
            client: ClientTls {
                trust: Trust::Roots(Roots::from_pem(root.pem().as_bytes()).expect("a root")),
                ..ClientTls::for_wire(WIRE)
            },
            root,
        }
    }

    /// Makes a client with other cryptography or fewer versions.
    fn client_with(
        &self,
        provider: Arc<CryptoProvider>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let Trust::Roots(roots) = &self.client.trust else {
            panic!("roots");
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("a version")
            .with_root_certificates(Arc::clone(roots.store()))
            .with_no_client_auth();
        Arc::new(config)
    }

    /// Shakes hands for a name.
    fn meet(&self, name: &str) -> Result<Met, Failed> {
        let server = self.server.config().expect("a server");
        let client = self.client.config().expect("a client");
        meet(&server, &client, name)
    }
}

/// Both sides after the handshake.
struct Met {
    server: ServerConnection,
    client: ClientConnection,
}

/// What each side found wrong: the first by itself, the other by an alert.
#[derive(Debug, Default, PartialEq, Eq)]
struct Failed {
    server: Option<String>,
    client: Option<String>,
}

fn meet(server: &Arc<ServerConfig>, client: &Arc<ClientConfig>, name: &str) -> Result<Met, Failed> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::clone(client), name).expect("a client");
    let mut server = ServerConnection::new(Arc::clone(server)).expect("a server");
    let mut failed = Failed::default();
    // Some flights, and the tickets behind them.
    for _ in 0..8 {
        let (mut one, mut other) = (Vec::new(), Vec::new());
        client.write_tls(&mut one).expect("memory");
        server.write_tls(&mut other).expect("memory");
        note(&mut failed.server, server.read_tls(&mut &*one), || {
            server.process_new_packets().map(drop)
        });
        note(&mut failed.client, client.read_tls(&mut &*other), || {
            client.process_new_packets().map(drop)
        });
    }
    match failed == Failed::default() && !client.is_handshaking() && !server.is_handshaking() {
        true => Ok(Met { server, client }),
        false => Err(failed),
    }
}

fn note<T>(
    failed: &mut Option<String>,
    read: std::io::Result<T>,
    process: impl FnOnce() -> Result<(), Error>,
) {
    if let (None, Ok(_), Err(error)) = (&failed, read, process()) {
        *failed = Some(fault_name(&error));
    }
}

/// Says who is at fault, and by what name each side knows it.
#[track_caller]
fn assert_fails(met: Result<Met, Failed>, server: &str, client: &str) {
    let failed = met.map(drop).expect_err("it must fail");
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    assert_eq!(
        (name(&failed.server).as_str(), name(&failed.client).as_str()),
        (server, client)
    );
}

#[test]
fn a_server_and_a_client_meet_and_come_back_by_a_ticket() {
    let world = World::new();
    let server = world.server.config().expect("a server");
    let client = world.client.config().expect("a client");
    let first = meet(&server, &client, "a.example").expect("they meet");
    assert_eq!(first.client.handshake_kind(), Some(HandshakeKind::Full));
    let again = meet(&server, &client, "a.example").expect("they meet");
    assert_eq!(again.client.handshake_kind(), Some(HandshakeKind::Resumed));
    assert_eq!(server.max_early_data_size, 0);
    assert!(!client.enable_early_data);
}

#[test]
fn what_one_side_writes_the_other_reads() {
    let Met { server, client } = World::new().meet("a.example").expect("they meet");
    let (mut server, mut client) = (Connection::from(server), Connection::from(client));
    client.writer().write_all(b"hello").expect("memory");
    let mut wire = Vec::new();
    client.write_tls(&mut wire).expect("memory");
    server.read_tls(&mut &*wire).expect("memory");
    server.process_new_packets().expect("a record");
    let mut read = [0; 5];
    server.reader().read_exact(&mut read).expect("five bytes");
    assert_eq!(&read, b"hello");
}

/// Ours against those of rustls' own provider, in both directions and with new keys.
#[test]
fn ciphers_with_small_keys_are_understood_by_others() {
    let world = World::new();
    let server = world.server.config().expect("a server");
    // The certificate has no key of RSA.
    let all = ring::DEFAULT_CIPHER_SUITES.iter();
    for suite in all.filter(|suite| !format!("{suite:?}").contains("RSA_WITH")) {
        let theirs = CryptoProvider {
            cipher_suites: vec![*suite],
            ..ring::default_provider()
        };
        let version = match suite.tls13() {
            Some(_) => &rustls::version::TLS13,
            None => &rustls::version::TLS12,
        };
        let client = world.client_with(Arc::new(theirs), &[version]);
        let Met { server, client } = meet(&server, &client, "a.example").expect("they meet");
        assert_eq!(server.negotiated_cipher_suite(), Some(*suite));
        let mut sides = [Connection::from(server), Connection::from(client)];
        for number in 0..4 {
            let message = [number; 40_000];
            let [one, other] = &mut sides;
            if one.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
                one.refresh_traffic_keys().expect("new keys");
            }
            assert_eq!(carry(one, other, &message), message, "{suite:?}");
            sides.reverse();
        }
    }
}

#[test]
fn a_record_that_was_changed_on_its_way_is_refused() {
    let Met { server, client } = World::new().meet("a.example").expect("they meet");
    let (mut server, mut client) = (Connection::from(server), Connection::from(client));
    client.writer().write_all(b"hello").expect("memory");
    let mut wire = Vec::new();
    client.write_tls(&mut wire).expect("memory");
    *wire.last_mut().expect("a record") ^= 1;
    server.read_tls(&mut &*wire).expect("memory");
    let refused = server.process_new_packets();
    assert_eq!(refused.map(drop), Err(Error::DecryptError));
}

/// Writes on one side and reads on the other.
fn carry(from: &mut Connection, to: &mut Connection, message: &[u8]) -> Vec<u8> {
    from.writer().write_all(message).expect("memory");
    let mut wire = Vec::new();
    while from.wants_write() {
        from.write_tls(&mut wire).expect("memory");
    }
    let (mut wire, mut heard) = (&wire[..], Vec::new());
    while !wire.is_empty() {
        to.read_tls(&mut wire).expect("memory");
        to.process_new_packets().expect("records");
        let _ = to.reader().read_to_end(&mut heard);
    }
    heard
}

#[test]
fn both_versions_are_spoken() {
    let world = World::new();
    let server = world.server.config().expect("a server");
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let client = world.client_with(provider::provider(), &[version]);
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let met = meet(&server, &client, "a.example").expect("they meet");
            assert_eq!(met.client.protocol_version(), Some(version.version));
            assert_eq!(met.server.handshake_kind(), Some(kind));
        }
    }
}

#[test]
fn who_is_not_believed_is_refused_with_the_reason() {
    let mut world = World::new();
    assert_fails(
        world.meet("b.example"),
        "bad_certificate",
        "certificate_not_valid_for_name",
    );
    let expired = made(&world.root.issue(&["a.example"], -9, -1));
    world.server.certificates = Certificates::new(vec![expired]).expect("a pair");
    assert_fails(
        world.meet("a.example"),
        "certificate_expired",
        "certificate_expired",
    );
    world.server.certificates = Certificates::new(vec![pair(&["a.example"])]).expect("a pair");
    assert_fails(
        world.meet("a.example"),
        "unknown_ca",
        "certificate_unknown_issuer",
    );
    world.client.trust = Trust::Anybody;
    world.meet("b.example").expect("anybody will do");
}

/// As `openssl req -x509` makes it, with `basicConstraints=CA:FALSE`.
#[test]
fn a_certificate_that_signs_itself_may_be_its_own_root() {
    let mut world = World::new();
    let (pem, key) = Root::itself(&["a.example"]);
    let pair = Pair::from_pem(pem.as_bytes(), key.as_bytes()).expect("a pair");
    world.server.certificates = Certificates::new(vec![pair]).expect("a pair");
    world.client.trust = Trust::Roots(Roots::from_pem(pem.as_bytes()).expect("a root"));
    world.meet("a.example").expect("they meet");
    assert_fails(
        world.meet("b.example"),
        "bad_certificate",
        "certificate_not_valid_for_name",
    );
}

#[test]
fn clients_must_show_a_certificate_if_they_are_asked() {
    let mut world = World::new();
    let authority = Root::new();
    let roots = |root: &Root| Roots::from_pem(root.pem().as_bytes()).expect("a root");
    let clients = ClientRoots::new(&roots(&authority)).expect("roots");
    world.server.clients = Some(Arc::clone(&clients));
    assert_fails(
        world.meet("a.example"),
        "certificate_required",
        "certificate_required",
    );
    world.client.identity = Some(pair(&["client"]));
    assert_fails(
        world.meet("a.example"),
        "certificate_unknown_issuer",
        "unknown_ca",
    );
    world.client.identity = Some(made(&authority.issue(&["client"], -1, 9)));
    let server = world.server.config().expect("a server");
    let client = world.client.config().expect("a client");
    for _ in 0..2 {
        let met = meet(&server, &client, "a.example").expect("they meet");
        // Who comes back is looked at once more.
        assert_eq!(met.server.handshake_kind(), Some(HandshakeKind::Full));
        assert_eq!(met.server.peer_certificates().map(<[_]>::len), Some(1));
    }
    clients.replace(&roots(&Root::new())).expect("roots");
    assert_fails(
        meet(&server, &client, "a.example"),
        "certificate_unknown_issuer",
        "unknown_ca",
    );
}

#[test]
fn new_connections_see_new_certificates() {
    let world = World::new();
    let server = world.server.config().expect("a server");
    let client = world.client.config().expect("a client");
    let shown = |met: &Met| met.client.peer_certificates().expect("some")[0].clone();
    let old = meet(&server, &client, "a.example").expect("they meet");
    let renewed = made(&world.root.issue(&["a.example"], -1, 60));
    let before = world.server.certificates.replace(vec![renewed.clone()]);
    assert_eq!(before.expect("a good pair").len(), 1);
    // Another client: this one would come back by its ticket.
    let client = world.client.config().expect("a client");
    let new = meet(&server, &client, "a.example").expect("they meet");
    assert_eq!(shown(&new), renewed.certified().cert[0]);
    assert_ne!(shown(&new), shown(&old));
}

#[cfg(feature = "websocket")]
#[test]
fn on_websocket_only_http_1_1_is_spoken() {
    let mut world = World::new();
    let certificates = Arc::clone(&world.server.certificates);
    world.server = ServerTls::new(certificates, WireKind::WebSocket);
    let met = world.meet("a.example").expect("no protocol is fine");
    assert_eq!(met.server.alpn_protocol(), None);
    world.client.protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let met = world.meet("a.example").expect("one in common");
    assert_eq!(met.client.alpn_protocol(), Some(&b"http/1.1"[..]));
    world.client.protocols = vec![b"h2".to_vec()];
    assert_fails(
        world.meet("a.example"),
        "no_application_protocol",
        "no_application_protocol",
    );
}

#[test]
fn clients_that_say_nothing_share_the_roots_of_the_system() {
    match (client(WIRE), client(WIRE)) {
        (Ok(one), Ok(other)) => assert!(Arc::ptr_eq(&one, &other)),
        // A machine without roots.
        (Err(error), Err(_)) => {
            assert!(
                matches!(error.fault(), CertFault::NoRoots { .. }),
                "{error}"
            );
        }
        (one, other) => panic!("{one:?} and then {other:?}"),
    }
}

const WIRE: WireKind = WireKind::Line;
