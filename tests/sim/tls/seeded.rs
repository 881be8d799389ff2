//! rustls with chance that a seed decides: randoms of both sides, session ids and tickets.
//!
//! ring draws the keys of an exchange on its own, and certificates are made anew in each run. Both have the
//! same length whatever is drawn, but for a byte or two of a root's signature: so what differs between two
//! runs of a seed is what is encrypted, and no verdict looks at that.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use heartwheel::config::WireKind;
use heartwheel::rustls::crypto::{CryptoProvider, GetRandomFailed, SecureRandom, ring};
use heartwheel::rustls::pki_types::ServerName;
use heartwheel::rustls::version::{TLS12, TLS13};
use heartwheel::rustls::{ClientConfig, ServerConfig, SupportedProtocolVersion};
use heartwheel::tls::{Certificates, Pair, Roots, ServerTls};
use rcgen::{KeyPair, PKCS_ED25519};

use crate::certs::Root;
use crate::dice::Dice;

thread_local! {
    static DICE: RefCell<Dice> = RefCell::new(Dice::new(0));
}

/// Begins anew with the dice of a world, which this thread plays.
pub(super) fn begin(dice: Dice) {
    DICE.set(dice);
}

#[derive(Debug)]
struct Seeded;

impl SecureRandom for Seeded {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), GetRandomFailed> {
        DICE.with_borrow_mut(|dice| bytes.fill_with(|| dice.byte()));
        Ok(())
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider {
        secure_random: &Seeded,
        ..ring::default_provider()
    })
}

/// A root, and a server's certificate that it has signed.
pub(super) struct Credentials {
    root: String,
    chain: String,
    key: String,
}

impl Credentials {
    fn new() -> Self {
        let root = Root::new();
        // Its signatures all have the same length.
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let issued = root.issue_for(&[NAME], -1, 90, key);
        Self {
            root: root.pem(),
            chain: issued.chain,
            key: issued.key,
        }
    }
}

/// What servers show and clients believe, and what nobody believes.
pub(super) static KNOWN: LazyLock<Credentials> = LazyLock::new(Credentials::new);
pub(super) static STRANGE: LazyLock<Credentials> = LazyLock::new(Credentials::new);

/// The only version that a peer speaks.
pub(super) fn version(is_old: bool) -> Versions {
    match is_old {
        true => &OLD,
        false => &NEW,
    }
}

static OLD: [&SupportedProtocolVersion; 1] = [&TLS12];
static NEW: [&SupportedProtocolVersion; 1] = [&TLS13];

type Versions = &'static [&'static SupportedProtocolVersion];

/// A server with this certificate.
pub(super) fn server(versions: Versions, whose: &Credentials) -> ServerConfig {
    let pair = Pair::from_pem(whose.chain.as_bytes(), whose.key.as_bytes()).unwrap();
    let certificates = Certificates::new(vec![pair]).unwrap();
    let shown = ServerTls::new(certificates, WireKind::Line);
    ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(shown.config().unwrap().cert_resolver.clone())
}

/// A client that believes this root.
pub(super) fn client(versions: Versions, whose: &Credentials) -> ClientConfig {
    let roots = Roots::from_pem(whose.root.as_bytes()).unwrap();
    ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots.store().clone())
        .with_no_client_auth()
}

pub(super) fn name() -> ServerName<'static> {
    NAME.try_into().unwrap()
}

pub(super) const NAME: &str = "server.test";
