//! Certificates that clients must show.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::error::{CertError, CertFault};
use super::provider::provider;
use super::roots::Roots;

/// Whose certificates clients must show: those that one of these roots has signed. The roots can be replaced
/// while connections live.
///
/// The server does not tell clients which roots these are, so that they can be replaced; a client that has
/// several certificates must know by itself which one to show.
#[derive(Debug)]
pub struct ClientRoots(RwLock<Arc<dyn ClientCertVerifier>>);

impl ClientRoots {
    /// Demands a certificate that one of these has signed.
    ///
    /// # Errors
    ///
    /// Rustls refuses the roots.
    pub fn new(roots: &Roots) -> Result<Arc<Self>, CertError> {
        Ok(Arc::new(Self(RwLock::new(verifier(roots)?))))
    }

    /// Demands a certificate that one of these has signed, from now on; live connections are not touched.
    ///
    /// # Errors
    ///
    /// Rustls refuses the roots. Then nothing changes.
    pub fn replace(&self, roots: &Roots) -> Result<(), CertError> {
        let verifier = verifier(roots)?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = verifier;
        Ok(())
    }

    fn current(&self) -> Arc<dyn ClientCertVerifier> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }
}

fn verifier(roots: &Roots) -> Result<Arc<dyn ClientCertVerifier>, CertError> {
    let roots = Arc::clone(roots.store());
    WebPkiClientVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(|error| CertFault::Refused(error.to_string()).into())
}

impl ClientCertVerifier for ClientRoots {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let current = self.current();
        current.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current()
            .verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current()
            .verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current().supported_verify_schemes()
    }
}
