//! The certificate that every server shows over TLS, in files, and what each side makes of it. A process
//! is told no more than that it is to use them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use heartwheel::WireKind;
use heartwheel::rustls::client::Resumption;
use heartwheel::rustls::crypto::ring;
use heartwheel::rustls::pki_types::pem::PemObject;
use heartwheel::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use heartwheel::rustls::{ClientConfig, RootCertStore, ServerConfig};
use heartwheel::tls::{Certificates, PairFiles, ServerTls};

use super::certs::Root;

/// The name in the certificate, of ECDSA P-256.
pub(crate) const NAME: &str = "server.test";

/// Writes the files.
pub(crate) fn issue() -> io::Result<()> {
    let root = Root::new();
    let issued = root.issue(&[NAME], -1, 90);
    fs::create_dir_all(place())?;
    fs::write(path("root.pem"), root.pem())?;
    fs::write(certificate(), issued.chain)?;
    fs::write(key(), issued.key)
}

pub(crate) fn certificate() -> PathBuf {
    path("cert.pem")
}

pub(crate) fn key() -> PathBuf {
    path("key.pem")
}

fn path(name: &str) -> PathBuf {
    place().join(name)
}

fn place() -> &'static Path {
    Path::new(concat!(env!("CARGO_TARGET_TMPDIR"), "/idle-tls"))
}

/// Heartwheel's.
pub(crate) fn ours() -> io::Result<Arc<ServerConfig>> {
    let pair = PairFiles::new(certificate(), key()).read();
    let pair = pair.map_err(io::Error::other)?;
    let certificates = Certificates::new(vec![pair]).map_err(io::Error::other)?;
    let server = ServerTls::new(certificates, WireKind::WebSocket);
    server.config().map_err(io::Error::other)
}

/// As rustls has it by default.
pub(crate) fn server() -> io::Result<Arc<ServerConfig>> {
    let certificate = CertificateDer::from_pem_file(certificate()).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(key()).map_err(io::Error::other)?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|config| {
            let config = config.with_no_client_auth();
            config.with_single_cert(vec![certificate], key)
        });
    config.map(Arc::new).map_err(io::Error::other)
}

/// The peers'.
pub(crate) fn client() -> io::Result<Arc<ClientConfig>> {
    let root = CertificateDer::from_pem_file(path("root.pem")).map_err(io::Error::other)?;
    let mut roots = RootCertStore::empty();
    roots.add(root).map_err(io::Error::other)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    // Each handshake is a whole one.
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}
