//! Certificates made for tests, in PEM: a root, and what it signs.
#![allow(clippy::unwrap_used, reason = "what tests are made of")]
#![allow(dead_code, reason = "each test file uses its own part")]

use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd,
};

/// Signs certificates.
pub(crate) struct Root(CertifiedIssuer<'static, KeyPair>);

/// A certificate that a root has signed, with its key.
pub(crate) struct Issued {
    /// The certificate alone; whoever checks it has the root.
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Root {
    /// Makes one whose key nobody else has.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Two roots with the same name could not be told apart before signatures are checked.
        let key = KeyPair::generate().unwrap();
        let name = format!("Heartwheel test root {:02x?}", &key.public_key_raw()[1..5]);
        params.distinguished_name.push(DnType::CommonName, name);
        date(&mut params, -100, 3650);
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Makes a certificate that signs itself, and its key.
    pub(crate) fn itself(names: &[&str]) -> (String, String) {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.is_ca = IsCa::ExplicitNoCa;
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    /// Signs a certificate for these names, valid from and until a day counted from today.
    pub(crate) fn issue(&self, names: &[&str], from: i64, until: i64) -> Issued {
        self.issue_for(names, from, until, KeyPair::generate().unwrap())
    }

    /// The same for a key that is there already.
    pub(crate) fn issue_for(&self, names: &[&str], from: i64, until: i64, key: KeyPair) -> Issued {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.is_ca = IsCa::ExplicitNoCa;
        date(&mut params, from, until);
        Issued {
            chain: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

fn date(params: &mut CertificateParams, from: i64, until: i64) {
    let at = |days| date_time_ymd(1970, 1, 1) + Duration::from_secs(unix(days));
    (params.not_before, params.not_after) = (at(from), at(until));
}

/// Returns a day counted from today, in seconds since 1970. Today is when this process asked first.
pub(crate) fn unix(days: i64) -> u64 {
    static TODAY: OnceLock<u64> = OnceLock::new();
    let today = *TODAY.get_or_init(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.unwrap().as_secs()
    });
    today.checked_add_signed(days * 86_400).unwrap()
}
