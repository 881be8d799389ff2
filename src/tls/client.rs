//! How a client speaks TLS.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;

use super::calendar::Calendar;
use super::error::CertError;
use super::insecure::AnybodyAtAll;
use super::pair::Pair;
use super::provider::provider;
use super::roots::Roots;
use crate::config::WireKind;

/// How a client speaks TLS. The [module](crate::tls) has an example.
///
/// Sessions are resumed (RFC 8446, section 2.2); those of up to 256 servers are kept in memory, in the
/// configuration. So make one configuration for all clients that are alike.
#[derive(Clone, Debug)]
pub struct ClientTls {
    /// Whom it believes. Default: [`Trust::System`].
    pub trust: Trust,
    /// What it shows if the server asks for a certificate. Default: nothing.
    pub identity: Option<Pair>,
    /// Protocols that it offers (ALPN, RFC 7301), the preferred one first. Default: `http/1.1` on WebSocket,
    /// nothing elsewhere.
    pub protocols: Vec<Vec<u8>>,
}

/// Whom a client believes.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// Servers whose certificate is signed by a root of the system: see [`Roots::system`].
    #[default]
    System,
    /// Servers whose certificate is signed by one of these.
    Roots(Roots),
    /// Anybody at all. The connection is encrypted, but whoever is on the path can read and change everything.
    /// For experiments only.
    Anybody,
}

impl ClientTls {
    /// The defaults for a wire.
    pub fn for_wire(wire: WireKind) -> Self {
        Self {
            trust: Trust::default(),
            identity: None,
            protocols: protocols(wire),
        }
    }

    /// Makes the configuration of rustls.
    ///
    /// # Errors
    ///
    /// The system has no roots, if they are asked for.
    pub fn config(&self) -> Result<Arc<ClientConfig>, CertError> {
        let builder = ClientConfig::builder_with_details(provider(), Arc::new(Calendar))
            .with_safe_default_protocol_versions()?;
        let builder = match &self.trust {
            Trust::System => builder.with_root_certificates(Arc::clone(Roots::system()?.store())),
            Trust::Roots(roots) => builder.with_root_certificates(Arc::clone(roots.store())),
            Trust::Anybody => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AnybodyAtAll)),
        };
        let mut config = match &self.identity {
            Some(pair) => {
                let resolver = rustls::sign::SingleCertAndKey::from(Arc::clone(pair.certified()));
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols.clone_from(&self.protocols);
        Ok(Arc::new(config))
    }
}

/// Returns the configuration of clients that say nothing else: the system's roots, and the defaults of the
/// wire. It is made when it is first asked for; then all clients of the process share it.
///
/// # Errors
///
/// The system has no roots. The next call tries again.
pub fn client(wire: WireKind) -> Result<Arc<ClientConfig>, CertError> {
    static CONFIGS: Mutex<[Option<Arc<ClientConfig>>; 2]> = Mutex::new([None, None]);
    let mut configs = CONFIGS.lock().unwrap_or_else(PoisonError::into_inner);
    let config = &mut configs[usize::from(wire.is_websocket())];
    if let Some(config) = config {
        return Ok(Arc::clone(config));
    }
    let made = ClientTls::for_wire(wire).config()?;
    Ok(Arc::clone(config.insert(made)))
}

/// Returns what is negotiated for a wire (RFC 7301, section 6). No other wire has a name that is registered.
pub(super) fn protocols(wire: WireKind) -> Vec<Vec<u8>> {
    match wire.is_websocket() {
        true => vec![b"http/1.1".to_vec()],
        false => Vec::new(),
    }
}
