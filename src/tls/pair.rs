//! A certificate with its private key.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::InconsistentKeys;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use webpki::{EndEntityCert, KeyUsage};

use super::error::{CertError, CertFault};
use super::provider::provider;
use super::{calendar, pem};

/// The files of a certificate and its key, in PEM (RFC 7468).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairFiles {
    /// The certificate first, then those that sign it, without the root: the `fullchain.pem` of certbot.
    pub cert: PathBuf,
    /// The private key: PKCS #8, SEC 1 or PKCS #1, not encrypted. It may be the same file.
    pub key: PathBuf,
}

impl PairFiles {
    /// Names both files.
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            cert: cert.into(),
            key: key.into(),
        }
    }

    /// Reads both files. Whether the certificate is valid today is not judged: see
    /// [`Pair::demand_valid`].
    ///
    /// # Errors
    ///
    /// A file cannot be read or is not PEM, or certificate and key do not fit each other; see [`Pair::new`].
    /// The error names the file.
    pub fn read(&self) -> Result<Pair, CertError> {
        let cert = pem::read(&self.cert)?;
        let chain = pem::certificates(&cert).map_err(|error| error.of(&self.cert))?;
        let key = pem::read(&self.key)?;
        let key = pem::key(&key).map_err(|error| error.of(&self.key))?;
        Pair::make(chain, key, Some(self.clone())).map_err(|error| match error.fault() {
            CertFault::OtherKey { .. } | CertFault::UnusableKey(_) => error.of(&self.key),
            _ => error.of(&self.cert),
        })
    }

    /// Says whether every user of the machine may read the key, as far as the file's mode says. `None`: the
    /// mode cannot be read.
    pub fn is_key_public(&self) -> Option<bool> {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&self.key).ok()?.permissions().mode();
        Some(mode & READ_BY_OTHERS != 0)
    }
}

/// A certificate with its private key, checked: they fit each other, and ring can sign with the key.
///
/// Copies share their content. Two are equal if they show the same certificates.
#[derive(Clone)]
pub struct Pair(Arc<Content>);

struct Content {
    certified: Arc<CertifiedKey>,
    names: Vec<String>,
    not_before: UnixTime,
    not_after: UnixTime,
    files: Option<PairFiles>,
}

impl Pair {
    /// Makes one of what is in memory: the certificate first, then those that sign it.
    ///
    /// # Errors
    ///
    /// There is no certificate, it is malformed or older than version 3, the key is of an unknown kind, or it
    /// belongs to another certificate.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, CertError> {
        Self::make(chain, key, None)
    }

    /// Makes one of texts in PEM, as files have it.
    ///
    /// # Errors
    ///
    /// A text is not PEM or lacks what it should have; or as [`Pair::new`].
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertError> {
        Self::make(pem::certificates(chain)?, pem::key(key)?, None)
    }

    fn make(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        files: Option<PairFiles>,
    ) -> Result<Self, CertError> {
        let leaf = chain.first().ok_or(CertFault::NoCertificate)?;
        let unusable = |reason: String| CertError::new(CertFault::UnusableCertificate(reason));
        let parsed = EndEntityCert::try_from(leaf).map_err(|error| unusable(error.to_string()))?;
        let (not_before, not_after) =
            validity(&parsed).ok_or_else(|| unusable("its dates make no sense".into()))?;
        let names = parsed.valid_dns_names();
        let names = names.map(str::to_ascii_lowercase).collect();
        let key = provider().key_provider.load_private_key(key);
        let key = key.map_err(|error| CertFault::UnusableKey(error.to_string()))?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(rustls::Error::InconsistentKeys(_)) => {
                let cert = files.map(|files| files.cert);
                return Err(CertFault::OtherKey { cert }.into());
            }
            Err(error) => return Err(unusable(error.to_string())),
        }
        Ok(Self(Arc::new(Content {
            certified: Arc::new(certified),
            names,
            not_before,
            not_after,
            files,
        })))
    }

    /// Returns the names of hosts that the certificate is for, in lower case: `chat.example.com`, or
    /// `*.example.com` for all names with one label more. IP addresses are left out, because clients do not send
    /// them (RFC 6066, section 3).
    pub fn names(&self) -> &[String] {
        &self.0.names
    }

    /// Returns the first second in which the certificate is valid.
    pub fn not_before(&self) -> UnixTime {
        self.0.not_before
    }

    /// Returns the last second in which the certificate is valid.
    ///
    /// Those that sign it may expire earlier; that is not judged here.
    pub fn not_after(&self) -> UnixTime {
        self.0.not_after
    }

    /// Returns how long the certificate will still be valid. `None`: it has expired.
    ///
    /// ```no_run
    /// use heartwheel::rustls::pki_types::UnixTime;
    /// use heartwheel::tls::PairFiles;
    ///
    /// let pair = PairFiles::new("cert.pem", "key.pem").read()?;
    /// match pair.left(UnixTime::now()) {
    ///     Some(left) => println!("{} days left", left.as_secs() / 86_400),
    ///     None => println!("expired"),
    /// }
    /// # Ok::<(), heartwheel::tls::CertError>(())
    /// ```
    pub fn left(&self, now: UnixTime) -> Option<Duration> {
        let left = self.0.not_after.as_secs().checked_sub(now.as_secs());
        left.map(Duration::from_secs)
    }

    /// Returns the files that it was read from.
    pub fn files(&self) -> Option<&PairFiles> {
        self.0.files.as_ref()
    }

    /// Returns it as rustls has it, for a resolver of your own.
    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.0.certified
    }

    /// Checks that the certificate is valid today, by the wall clock.
    ///
    /// # Errors
    ///
    /// [`CertFault::Expired`] and [`CertFault::NotYetValid`]. If the clock is set to before 1970, nothing is
    /// judged.
    pub fn demand_valid(&self) -> Result<(), CertError> {
        calendar::now().map_or(Ok(()), |now| self.demand_valid_at(now))
    }

    fn demand_valid_at(&self, now: UnixTime) -> Result<(), CertError> {
        let Content {
            not_before,
            not_after,
            ..
        } = *self.0;
        let fault = if now > not_after {
            CertFault::Expired { not_after }
        } else if now < not_before {
            CertFault::NotYetValid { not_before }
        } else {
            return Ok(());
        };
        let error = CertError::new(fault);
        Err(match self.files() {
            Some(files) => error.of(&files.cert),
            None => error,
        })
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.0.certified.cert == other.0.certified.cert
    }
}

impl Eq for Pair {}

/// Shows no key.
impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("names", &self.0.names)
            .field("not_after", &self.0.not_after)
            .field("files", &self.0.files)
            .finish_non_exhaustive()
    }
}

/// Returns the first and the last second of a certificate. Webpki tells neither, but when it refuses a
/// certificate because of its dates it says which date that was; and it looks at them before anything else.
fn validity(cert: &EndEntityCert<'_>) -> Option<(UnixTime, UnixTime)> {
    let judge = |at| {
        let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
        let usage = KeyUsage::server_auth();
        let judged = cert.verify_for_usage(&[], &[], &[], at, usage, None, None);
        judged.map(drop)
    };
    let not_before = match judge(0) {
        Err(webpki::Error::CertNotValidYet { not_before, .. }) => not_before,
        // It was valid at the very beginning.
        _ => UnixTime::since_unix_epoch(Duration::ZERO),
    };
    match judge(u64::MAX) {
        Err(webpki::Error::CertExpired { not_after, .. }) => Some((not_before, not_after)),
        _ => None,
    }
}

const READ_BY_OTHERS: u32 = 0o004;

#[cfg(test)]
mod tests {
    use super::super::tests::{days, made, pair};
    use super::*;
    use crate::certs::Root;

    #[test]
    fn a_pair_knows_its_names_and_its_dates() {
        let root = Root::new();
        let issued = root.issue(&["Chat.Example.com", "*.example.net"], -2, 40);
        let pair = made(&issued);
        assert_eq!(pair.names(), ["chat.example.com", "*.example.net"]);
        assert_eq!((pair.not_before(), pair.not_after()), (days(-2), days(40)));
        assert_eq!(pair.left(days(39)), Some(Duration::from_secs(86_400)));
        assert_eq!(pair.left(days(41)), None);
        assert_eq!(pair.demand_valid_at(days(40)), Ok(()));
        let fault = |at| {
            pair.demand_valid_at(days(at))
                .expect_err("not valid")
                .fault()
                .clone()
        };
        let (not_before, not_after) = (days(-2), days(40));
        assert_eq!(fault(41), CertFault::Expired { not_after });
        assert_eq!(fault(-3), CertFault::NotYetValid { not_before });
        assert!(!format!("{pair:?}").contains("PRIVATE"), "{pair:?}");
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let root = Root::new();
        let (one, other) = (
            root.issue(&["one.example"], 0, 9),
            root.issue(&["two.example"], 0, 9),
        );
        let error = Pair::from_pem(one.chain.as_bytes(), other.key.as_bytes());
        let error = error.expect_err("they do not fit");
        assert_eq!(*error.fault(), CertFault::OtherKey { cert: None });
    }

    #[test]
    fn every_kind_of_key_is_taken() {
        for key in ["EC P-256", "EC P-384", "Ed25519"] {
            let kind = match key {
                "EC P-256" => &rcgen::PKCS_ECDSA_P256_SHA256,
                "EC P-384" => &rcgen::PKCS_ECDSA_P384_SHA384,
                _ => &rcgen::PKCS_ED25519,
            };
            let key = rcgen::KeyPair::generate_for(kind).expect("a key");
            let issued = Root::new().issue_for(&["a.example"], 0, 9, key);
            assert_eq!(made(&issued).names(), ["a.example"]);
        }
    }

    #[test]
    fn pairs_are_equal_if_they_show_the_same() {
        let root = Root::new();
        let issued = root.issue(&["a.example"], 0, 9);
        assert_eq!(made(&issued), made(&issued));
        assert_ne!(made(&issued), pair(&["a.example"]));
    }

    #[test]
    fn what_is_no_certificate_or_no_key_is_told_with_its_file() {
        let place = tempfile();
        let issued = Root::new().issue(&["a.example"], 0, 9);
        let (cert, key) = (place.join("cert.pem"), place.join("key.pem"));
        fs::write(&cert, &issued.chain).expect("a file");
        fs::write(&key, &issued.key).expect("a file");
        let files = |cert: &PathBuf, key: &PathBuf| PairFiles::new(cert, key).read();
        assert_eq!(files(&cert, &key).expect("a pair").names(), ["a.example"]);
        let swapped = files(&key, &cert).expect_err("swapped");
        assert_eq!(*swapped.fault(), CertFault::NoCertificate);
        assert_eq!(swapped.file(), Some(&*key));
        let none = files(&cert, &cert).expect_err("no key");
        assert_eq!(*none.fault(), CertFault::NoKey);
        let garbage = place.join("garbage.pem");
        let text = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        fs::write(&garbage, text).expect("a file");
        let error = files(&garbage, &key).expect_err("no certificate");
        assert!(
            matches!(error.fault(), CertFault::UnusableCertificate(_)),
            "{error}"
        );
        let missing = files(&cert, &place.join("none.pem")).expect_err("no file");
        assert!(missing.to_string().ends_with("check the path"), "{missing}");
        fs::remove_dir_all(place).expect("a directory");
    }

    #[test]
    fn a_key_that_everybody_may_read_is_noticed() {
        use std::os::unix::fs::PermissionsExt;
        let place = tempfile();
        let key = place.join("key.pem");
        fs::write(&key, "").expect("a file");
        let files = PairFiles::new("none", &key);
        for (mode, is_public) in [(0o600, false), (0o640, false), (0o644, true)] {
            fs::set_permissions(&key, fs::Permissions::from_mode(mode)).expect("a mode");
            assert_eq!(files.is_key_public(), Some(is_public));
        }
        fs::remove_dir_all(place).expect("a directory");
        assert_eq!(files.is_key_public(), None);
    }

    /// Returns a directory of its own for each test.
    fn tempfile() -> PathBuf {
        let name = std::thread::current().name().map(str::to_owned);
        let name = name.unwrap_or_default().replace("::", "-");
        let place = std::env::temp_dir().join(format!("heartwheel-{}-{name}", std::process::id()));
        fs::create_dir_all(&place).expect("a directory");
        place
    }
}
