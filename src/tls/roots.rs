//! Root certificates: whom one believes when they sign certificates of others.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;

use super::error::{CertError, CertFault};
use super::pem;

/// Root certificates. Copies share their content.
#[derive(Clone, Debug)]
pub struct Roots {
    store: Arc<RootCertStore>,
    skipped: Arc<Vec<String>>,
}

impl Roots {
    /// Reads those of the system. The variables `SSL_CERT_FILE` and `SSL_CERT_DIR` name others, as for OpenSSL.
    /// This takes some milliseconds.
    ///
    /// # Errors
    ///
    /// [`CertFault::NoRoots`] if there are none. A part that cannot be read is no error: see
    /// [`Roots::skipped`].
    pub fn system() -> Result<Self, CertError> {
        let found = rustls_native_certs::load_native_certs();
        let mut skipped: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        let mut store = RootCertStore::empty();
        let (_, unknown) = store.add_parsable_certificates(found.certs);
        if unknown > 0 {
            skipped.push(format!(
                "{unknown} certificates are malformed or older than version 3"
            ));
        }
        if store.is_empty() {
            return Err(CertFault::NoRoots { skipped }.into());
        }
        Ok(Self {
            store: Arc::new(store),
            skipped: Arc::new(skipped),
        })
    }

    /// Reads those of a file in PEM (RFC 7468), and no others. A certificate that signs itself may be one.
    ///
    /// # Errors
    ///
    /// The file cannot be read, has no certificate, or has one that cannot be used.
    pub fn read(file: &Path) -> Result<Self, CertError> {
        let pem = pem::read(file)?;
        Self::from_pem(&pem).map_err(|error| error.of(file))
    }

    /// Takes those of a text in PEM, as a file has it.
    ///
    /// # Errors
    ///
    /// It has no certificate, or one that cannot be used.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertError> {
        Self::new(pem::certificates(pem)?)
    }

    /// Takes these.
    ///
    /// # Errors
    ///
    /// There are none, or one cannot be used.
    pub fn new(certificates: Vec<CertificateDer<'static>>) -> Result<Self, CertError> {
        let mut store = RootCertStore::empty();
        for certificate in certificates {
            let added = store.add(certificate);
            added.map_err(|error| CertFault::UnusableCertificate(error.to_string()))?;
        }
        if store.is_empty() {
            return Err(CertFault::NoCertificate.into());
        }
        Ok(Self {
            store: Arc::new(store),
            skipped: Arc::default(),
        })
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.store.len()
    }

    /// Says whether there are none: always false.
    pub fn is_empty(&self) -> bool {
        self.store.is_empty()
    }

    /// Says what of the system's roots could not be read, a line each. Servers that it would prove are refused.
    pub fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// Returns them as rustls has them.
    pub fn store(&self) -> &Arc<RootCertStore> {
        &self.store
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certs::Root;

    #[test]
    fn roots_are_those_of_the_text_and_no_others() {
        let (one, other) = (Root::new(), Root::new());
        let roots = Roots::from_pem(format!("{}\n# and\n{}", one.pem(), other.pem()).as_bytes());
        assert_eq!(roots.expect("two roots").len(), 2);
        let error = Roots::from_pem(b"nothing").expect_err("no roots");
        assert_eq!(*error.fault(), CertFault::NoCertificate);
        let error = Roots::new(vec![vec![1, 2, 3].into()]).expect_err("no certificate");
        assert!(
            matches!(error.fault(), CertFault::UnusableCertificate(_)),
            "{error}"
        );
    }
}
