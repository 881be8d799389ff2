//! What is wrong with a certificate, a key or roots, in words.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustls::pki_types::UnixTime;

use super::calendar::written;

/// Why a certificate, a key or roots cannot be used: which file, what is wrong with it, and what to do.
///
/// ```
/// use heartwheel::tls::{CertFault, PairFiles};
///
/// let error = PairFiles::new("no/such.pem", "no/such.key").read().unwrap_err();
/// assert!(matches!(error.fault(), CertFault::Unreadable { .. }));
/// assert!(error.to_string().starts_with("no/such.pem: "));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertError {
    file: Option<PathBuf>,
    fault: CertFault,
}

/// What is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CertFault {
    /// The file cannot be read.
    Unreadable {
        /// What kind of error it is.
        kind: ErrorKind,
        /// What the system says.
        reason: String,
    },
    /// The file is larger than 16 MiB, so it is not one of certificates.
    TooLarge,
    /// A section of the file is not PEM (RFC 7468).
    NotPem(String),
    /// There is no certificate in it.
    NoCertificate,
    /// There is no private key in it.
    NoKey,
    /// The private key is encrypted.
    EncryptedKey,
    /// The private key is of a kind that ring does not know, or garbled.
    UnusableKey(String),
    /// The private key belongs to another certificate.
    OtherKey {
        /// The file of the certificate, if it came from one.
        cert: Option<PathBuf>,
    },
    /// The certificate is not one that can be used (RFC 5280).
    UnusableCertificate(String),
    /// The certificate has expired.
    Expired {
        /// Its last second.
        not_after: UnixTime,
    },
    /// The certificate is not valid yet.
    NotYetValid {
        /// Its first second.
        not_before: UnixTime,
    },
    /// No certificate with a key was given.
    NoPair,
    /// There is no root to believe.
    NoRoots {
        /// What could not be read, a line each.
        skipped: Vec<String>,
    },
    /// Rustls refuses the configuration.
    Refused(String),
}

impl CertError {
    pub(super) const fn new(fault: CertFault) -> Self {
        Self { file: None, fault }
    }

    /// The same of this file, unless it knows its own.
    pub(super) fn of(mut self, file: &Path) -> Self {
        self.file.get_or_insert_with(|| file.to_owned());
        self
    }

    /// Returns the file that it is about. `None`: what it is about came from memory.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Returns what is wrong.
    pub const fn fault(&self) -> &CertFault {
        &self.fault
    }
}

impl From<CertFault> for CertError {
    fn from(fault: CertFault) -> Self {
        Self::new(fault)
    }
}

impl From<rustls::Error> for CertError {
    fn from(error: rustls::Error) -> Self {
        Self::new(CertFault::Refused(error.to_string()))
    }
}

impl fmt::Display for CertError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        self.fault.fmt(f)
    }
}

impl Error for CertError {}

impl fmt::Display for CertFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { kind, reason } => {
                write!(f, "cannot be read: {reason}{}", advice(*kind))
            }
            Self::TooLarge => f.write_str("has more than 16 MiB, so it holds no certificates"),
            Self::NotPem(reason) => write!(
                f,
                "is not PEM: {reason}; copy the whole file, with its BEGIN and END lines"
            ),
            Self::NoCertificate => {
                f.write_str("has no certificate (a line -----BEGIN CERTIFICATE-----)")
            }
            Self::NoKey => f.write_str(
                "has no private key (a line -----BEGIN PRIVATE KEY-----, EC or RSA as well)",
            ),
            Self::EncryptedKey => f.write_str(
                "the private key is encrypted; decrypt it: openssl pkey -in ENCRYPTED -out PLAIN",
            ),
            Self::UnusableKey(reason) => write!(
                f,
                "the private key cannot be used: {reason}; take ECDSA with P-256 or P-384, Ed25519, or \
                 RSA with 2048 to 8192 bits"
            ),
            Self::OtherKey { cert: Some(cert) } => {
                write!(f, "the private key does not fit {}", cert.display())
            }
            Self::OtherKey { cert: None } => {
                f.write_str("the private key does not fit the certificate")
            }
            Self::UnusableCertificate(reason) => {
                write!(f, "the certificate cannot be used: {reason}")
            }
            Self::Expired { not_after } => write!(
                f,
                "the certificate expired at {}; renew it",
                written(*not_after)
            ),
            Self::NotYetValid { not_before } => write!(
                f,
                "the certificate is valid only from {} on; check the clock",
                written(*not_before)
            ),
            Self::NoPair => f.write_str("no certificate with a key is given"),
            Self::NoRoots { skipped } => {
                f.write_str("no root certificates of the system")?;
                if !skipped.is_empty() {
                    write!(f, " ({})", skipped.join("; "))?;
                }
                f.write_str("; install ca-certificates, or give a file of roots")
            }
            Self::Refused(reason) => write!(f, "rustls refuses it: {reason}"),
        }
    }
}

/// Says what to do about a file that cannot be read.
const fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::PermissionDenied => {
            "; let the user that runs this program read it, for example through a group"
        }
        ErrorKind::NotFound => "; check the path",
        _ => "",
    }
}
