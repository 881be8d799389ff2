//! How a server speaks TLS.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage};

use super::authorities::ClientRoots;
use super::calendar::Calendar;
use super::certificates::Certificates;
use super::client::protocols;
use super::error::CertError;
use super::provider::provider;
use crate::config::WireKind;

/// How a server speaks TLS. The [module](crate::tls) has an example.
#[derive(Clone, Debug)]
pub struct ServerTls {
    /// What it shows.
    pub certificates: Arc<Certificates>,
    /// Whose certificates clients must show. Default: none are asked for.
    ///
    /// With these, sessions are not resumed: a client that is no longer trusted would come back with its
    /// ticket. So each connection costs a full handshake.
    pub clients: Option<Arc<ClientRoots>>,
    /// Protocols that it speaks (ALPN, RFC 7301), the preferred one first. Empty: it ignores what clients
    /// offer. Default: `http/1.1` on WebSocket, nothing elsewhere.
    pub protocols: Vec<Vec<u8>>,
}

impl ServerTls {
    /// The defaults for a wire.
    pub fn new(certificates: Arc<Certificates>, wire: WireKind) -> Self {
        Self {
            certificates,
            clients: None,
            protocols: protocols(wire),
        }
    }

    /// Makes the configuration of rustls. Make one for all loops that share a port: the keys of session
    /// tickets are in it, and a client may come back to another loop.
    ///
    /// A ticket is valid for 12 hours, and its keys are in memory only. A server keeps nothing for a session.
    ///
    /// # Errors
    ///
    /// The system has no random numbers.
    pub fn config(&self) -> Result<Arc<ServerConfig>, CertError> {
        let verifier: Arc<dyn ClientCertVerifier> = match &self.clients {
            Some(clients) => Arc::<ClientRoots>::clone(clients),
            None => Arc::new(NoClientAuth),
        };
        let certificates = Arc::<Certificates>::clone(&self.certificates);
        let mut config = ServerConfig::builder_with_details(provider(), Arc::new(Calendar))
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(certificates);
        config.alpn_protocols.clone_from(&self.protocols);
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        if self.clients.is_none() {
            config.ticketer = Ticketer::new()?;
            config.send_tls13_tickets = TICKETS;
        }
        Ok(Arc::new(config))
    }
}

/// Tickets that a client gets: one for the connection that follows this one.
const TICKETS: usize = 1;
