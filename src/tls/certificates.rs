//! Certificates chosen by server name, which can be replaced while connections live.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::SignatureScheme;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::error::{CertError, CertFault};
use super::pair::Pair;

/// What a server shows: one or more certificates with their keys.
///
/// Each client gets the one for the name that it asks for (SNI, RFC 6066, section 3). A certificate is for the
/// names that stand in it ([`Pair::names`]). An exact name is better than a wildcard, and the first of several
/// pairs is better than the next; but if a client cannot check signatures of the first, it gets the next, so
/// an RSA and an ECDSA pair may have the same name. A client without a name, or with an unknown one, gets the
/// first pair, as from nginx: it can judge for itself whether that is whom it wants.
///
/// All listeners and loops that have the same `Certificates` show the same. They are looked up once for each
/// handshake.
#[derive(Debug)]
pub struct Certificates(RwLock<Arc<Shown>>);

impl Certificates {
    /// Shows these. Whether they are valid today is not judged, so that a program starts with an expired
    /// certificate: some service may be better than none. Call [`Pair::demand_valid`] if not.
    ///
    /// # Errors
    ///
    /// [`CertFault::NoPair`] if there are none.
    pub fn new(pairs: Vec<Pair>) -> Result<Arc<Self>, CertError> {
        let shown = Shown::new(pairs)?;
        Ok(Arc::new(Self(RwLock::new(Arc::new(shown)))))
    }

    /// Shows these from now on; live connections are not touched. Returns those that were shown before.
    ///
    /// # Errors
    ///
    /// There are none, or one is not valid today. Then nothing changes. One that is shown already may have
    /// expired: it must not keep others from being renewed.
    pub fn replace(&self, pairs: Vec<Pair>) -> Result<Vec<Pair>, CertError> {
        let before = self.pairs();
        for pair in pairs.iter().filter(|pair| !before.contains(pair)) {
            pair.demand_valid()?;
        }
        let shown = Arc::new(Shown::new(pairs)?);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = shown;
        Ok(before)
    }

    /// Returns what is shown.
    pub fn pairs(&self) -> Vec<Pair> {
        self.shown().pairs.clone()
    }

    /// Returns the pair for a name in lower case, or for none.
    pub fn choose(&self, name: Option<&str>) -> Pair {
        self.shown().choose(name, |_| true).clone()
    }

    fn shown(&self) -> Arc<Shown> {
        let shown = self.0.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&shown)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.shown();
        let schemes = hello.signature_schemes();
        let pair = shown.choose(hello.server_name(), |pair| can_sign(pair, schemes));
        Some(Arc::clone(pair.certified()))
    }
}

/// Says whether the key can make a signature that the client can check.
fn can_sign(pair: &Pair, schemes: &[SignatureScheme]) -> bool {
    pair.certified().key.choose_scheme(schemes).is_some()
}

/// Pairs, and where to find them.
#[derive(Debug)]
struct Shown {
    /// Invariant: never empty.
    pairs: Vec<Pair>,
    /// Places in `pairs`, in their order.
    exact: HashMap<String, Vec<usize>>,
    /// The same by what follows `*.`.
    wildcard: HashMap<String, Vec<usize>>,
}

impl Shown {
    fn new(pairs: Vec<Pair>) -> Result<Self, CertError> {
        if pairs.is_empty() {
            return Err(CertFault::NoPair.into());
        }
        let (mut exact, mut wildcard) = (HashMap::new(), HashMap::new());
        for (place, pair) in pairs.iter().enumerate() {
            for name in pair.names() {
                let (table, name) = match name.strip_prefix("*.") {
                    Some(rest) => (&mut wildcard, rest),
                    None => (&mut exact, name.as_str()),
                };
                let places: &mut Vec<usize> = table.entry(name.to_owned()).or_default();
                places.push(place);
            }
        }
        Ok(Self {
            pairs,
            exact,
            wildcard,
        })
    }

    /// Returns the best pair for a name that will do; if none will, the best one that will not.
    fn choose(&self, name: Option<&str>, will_do: impl Fn(&Pair) -> bool) -> &Pair {
        let name = name.unwrap_or_default();
        let above = name.split_once('.').map_or("", |(_, above)| above);
        let exact = self.exact.get(name).into_iter().flatten();
        let wildcard = self.wildcard.get(above).into_iter().flatten();
        let named = exact.chain(wildcard).map(|&place| &self.pairs[place]);
        let mut all = named.clone().chain(&self.pairs);
        let best = named.clone().next().unwrap_or(&self.pairs[0]);
        all.find(|pair| will_do(pair)).unwrap_or(best)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{made, pair};
    use super::*;
    use crate::certs::Root;

    fn chosen(certificates: &Certificates, name: &str) -> String {
        let name = (!name.is_empty()).then_some(name);
        certificates.choose(name).names()[0].clone()
    }

    #[test]
    fn an_exact_name_is_better_than_a_wildcard_and_the_first_pair_is_for_all_others() {
        let pairs = vec![
            pair(&["main.example"]),
            pair(&["*.chat.example"]),
            pair(&["eu.chat.example", "main.example"]),
        ];
        let certificates = Certificates::new(pairs).expect("pairs");
        for (name, first_name) in [
            ("", "main.example"),
            ("main.example", "main.example"),
            ("us.chat.example", "*.chat.example"),
            ("eu.chat.example", "eu.chat.example"),
            // A wildcard is for one label.
            ("chat.example", "main.example"),
            ("a.us.chat.example", "main.example"),
            ("other.example", "main.example"),
        ] {
            assert_eq!(chosen(&certificates, name), first_name, "{name}");
        }
    }

    #[test]
    fn a_client_gets_a_pair_whose_signatures_it_can_check() {
        let root = Root::new();
        let ed = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("a key");
        let ed = made(&root.issue_for(&["a.example"], 0, 9, ed));
        let ec = made(&root.issue(&["a.example"], 0, 9));
        let shown = Shown::new(vec![ed.clone(), ec.clone()]).expect("pairs");
        let choose = |schemes: &[SignatureScheme]| {
            let will_do = |pair: &Pair| can_sign(pair, schemes);
            shown.choose(Some("a.example"), will_do).clone()
        };
        let both = [
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ED25519,
        ];
        assert_eq!(choose(&both), ed);
        assert_eq!(choose(&both[..1]), ec);
        assert_eq!(choose(&[]), ed);
    }

    #[test]
    fn a_bad_pair_changes_nothing() {
        let certificates = Certificates::new(vec![pair(&["old.example"])]).expect("a pair");
        let root = Root::new();
        let (expired, early) = (
            root.issue(&["x.example"], -9, -1),
            root.issue(&["x.example"], 5, 9),
        );
        for bad in [
            vec![],
            vec![made(&expired)],
            vec![pair(&["new.example"]), made(&early)],
        ] {
            certificates.replace(bad).expect_err("one is bad");
            assert_eq!(chosen(&certificates, ""), "old.example");
        }
        let before = certificates.replace(vec![pair(&["new.example"])]);
        assert_eq!(before.expect("a good one")[0].names(), ["old.example"]);
        assert_eq!(chosen(&certificates, ""), "new.example");
    }

    #[test]
    fn an_expired_pair_that_is_shown_keeps_no_other_from_being_renewed() {
        let expired = made(&Root::new().issue(&["old.example"], -9, -1));
        let pairs = vec![expired.clone(), pair(&["a.example"])];
        let certificates = Certificates::new(pairs).expect("pairs");
        let renewed = vec![expired, pair(&["a.example"])];
        certificates.replace(renewed).expect("one of them is new");
    }
}
