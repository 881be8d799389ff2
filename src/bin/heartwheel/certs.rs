//! Certificates of `serve`: read at the start, again when asked to, and watched until they expire.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use heartwheel::config::WireKind;
use heartwheel::rustls::ServerConfig;
use heartwheel::rustls::pki_types::UnixTime;
use heartwheel::tls::{
    CertError, CertFault, Certificates, ClientRoots, Pair, PairFiles, Roots, ServerTls,
};
use humantime::format_rfc3339_seconds;
use log::Level;

use crate::Failure;

/// Certificates of the TLS listeners.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "TLS (files in PEM; SIGHUP reads them again)")]
pub(crate) struct CertFlags {
    /// Certificate for --wss and --tls-..., followed by those that sign it, as in certbot's
    /// fullchain.pem (may be repeated, each with its --key). Clients get the one that has the name they
    /// ask for; others get the first
    #[arg(long, value_name = "FILE")]
    cert: Vec<PathBuf>,

    /// Private key of the --cert at the same place, not encrypted
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,

    /// Demand from each client a certificate that one in this file has signed. Sessions are not
    /// resumed then [default: ask for none]
    #[arg(long, value_name = "FILE")]
    client_ca: Option<PathBuf>,
}

impl CertFlags {
    /// Reads what TLS listeners need; the flag of the first one is named.
    fn read(&self, listener: &str) -> Result<Certs, Failure> {
        let files = self.pairs(listener)?;
        let (pairs, roots) = read(&files, self.client_ca.as_ref()).map_err(Failure::usage)?;
        for warning in files.iter().filter_map(public_key) {
            log::warn!("{warning}");
        }
        let refused = |error: CertError| Failure::failed(error.to_string());
        let clients = roots.as_ref().map(ClientRoots::new).transpose();
        let mut certs = Certs {
            files,
            client_ca: self.client_ca.clone(),
            certificates: Certificates::new(pairs).map_err(refused)?,
            clients: clients.map_err(refused)?,
            watch: Watch::default(),
        };
        certs.tell();
        certs.after_turn();
        Ok(certs)
    }

    /// Refuses what would have no effect.
    pub(crate) fn demand_none(&self) -> Result<(), Failure> {
        match self.given() {
            None => Ok(()),
            Some(flag) => Err(Failure::usage(format!(
                "{flag} is for TLS, and no listener speaks it; add --wss ADDR or --tls-tcp ADDR"
            ))),
        }
    }

    /// Returns the files: certificates, keys, and those who sign for clients.
    pub(crate) fn files(&self) -> (&[PathBuf], &[PathBuf], Option<&PathBuf>) {
        (&self.cert, &self.key, self.client_ca.as_ref())
    }

    /// Returns the first flag that was given.
    fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--cert", !self.cert.is_empty()),
            ("--key", !self.key.is_empty()),
            ("--client-ca", self.client_ca.is_some()),
        ];
        let mut given = flags.into_iter().filter(|(_, is_given)| *is_given);
        given.next().map(|(flag, _)| flag)
    }

    fn pairs(&self, listener: &str) -> Result<Vec<PairFiles>, Failure> {
        let (certs, keys) = (self.cert.len(), self.key.len());
        if certs == 0 {
            let what = match keys {
                0 => "--cert FILE --key FILE",
                _ => "--cert FILE",
            };
            return Err(Failure::usage(format!(
                "{listener} needs a certificate; add {what}"
            )));
        }
        if keys == 0 {
            return Err(Failure::usage(
                "--cert needs its private key; add --key FILE",
            ));
        }
        if certs != keys {
            return Err(Failure::usage(format!(
                "--cert is given {} and --key {}; give each --cert its --key, in the same order",
                times(certs),
                times(keys)
            )));
        }
        let pairs = self.cert.iter().zip(&self.key);
        Ok(pairs.map(|(cert, key)| PairFiles::new(cert, key)).collect())
    }
}

/// All certificates in use. Listeners with the same files share them.
#[derive(Default)]
pub(crate) struct CertStore(Vec<(CertFlags, Certs)>);

impl CertStore {
    /// Returns what a listener needs, if it has certificates; its flag is named where something is missing.
    pub(crate) fn config(
        &mut self,
        flags: Option<&CertFlags>,
        listener: &str,
        wire: WireKind,
    ) -> Result<Option<Arc<ServerConfig>>, Failure> {
        let certs = flags.map(|flags| self.get(flags, listener)).transpose()?;
        certs.map(|certs| certs.config(wire)).transpose()
    }

    /// Returns a name that a client may ask a listener for.
    pub(crate) fn example_name(&self, flags: Option<&CertFlags>) -> Option<String> {
        let flags = flags?;
        let (_, certs) = self.0.iter().find(|(known, _)| known == flags)?;
        certs.example_name()
    }

    /// Returns what is to be said of certificates now: that they expire soon, and that others may read a key.
    pub(crate) fn warnings(&self, flags: &CertFlags) -> Vec<String> {
        let Some((_, certs)) = self.0.iter().find(|(known, _)| known == flags) else {
            return Vec::new();
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = UnixTime::since_unix_epoch(now.unwrap_or_default());
        let due = Watch::default().due(&certs.certificates.pairs(), now);
        let public = certs.files.iter().filter_map(public_key);
        due.into_iter()
            .map(|(_, line)| line)
            .chain(public)
            .collect()
    }

    /// Returns those of a listener, which are read unless they are in use already.
    fn get(&mut self, flags: &CertFlags, listener: &str) -> Result<&Certs, Failure> {
        let place = self.0.iter().position(|(known, _)| known == flags);
        let place = match place {
            Some(place) => place,
            None => {
                self.0.push((flags.clone(), flags.read(listener)?));
                self.0.len() - 1
            }
        };
        Ok(&self.0[place].1)
    }

    /// Returns when each certificate expires, seconds since 1970, with its file.
    pub(crate) fn ends(&self) -> Vec<(String, u64)> {
        let pairs = self
            .0
            .iter()
            .flat_map(|(_, certs)| certs.certificates.pairs());
        let ends = pairs.map(|pair| (file(&pair), pair.not_after().as_secs()));
        ends.collect()
    }

    /// Forgets those that no listener uses any more.
    pub(crate) fn retain(&mut self, is_used: impl Fn(&CertFlags) -> bool) {
        self.0.retain(|(flags, _)| is_used(flags));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads all files again. Where anything is wrong with one, nothing changes for the listeners that share it.
    pub(crate) fn reload(&mut self) -> Result<Reloaded, String> {
        let mut sum = Reloaded::default();
        for (_, certs) in &mut self.0 {
            let reloaded = certs.reload()?;
            sum.certificates += reloaded.certificates;
            sum.changed += reloaded.changed;
        }
        Ok(sum)
    }

    /// Says it if certificates expire soon; returns when to be called again.
    pub(crate) fn after_turn(&mut self) -> Option<Duration> {
        let looks = self.0.iter_mut().map(|(_, certs)| certs.after_turn());
        looks.min()
    }
}

/// Certificates in use.
pub(crate) struct Certs {
    files: Vec<PairFiles>,
    client_ca: Option<PathBuf>,
    certificates: Arc<Certificates>,
    clients: Option<Arc<ClientRoots>>,
    watch: Watch,
}

/// What came of reading them again.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reloaded {
    pub(crate) certificates: usize,
    /// How many of them are others than before.
    pub(crate) changed: usize,
}

impl Certs {
    /// Returns what a listener needs. All loops that share its port have the same.
    fn config(&self, wire: WireKind) -> Result<Arc<ServerConfig>, Failure> {
        let server = ServerTls {
            clients: self.clients.clone(),
            ..ServerTls::new(Arc::clone(&self.certificates), wire)
        };
        server
            .config()
            .map_err(|error| Failure::failed(error.to_string()))
    }

    /// Returns a name that a client may ask for.
    fn example_name(&self) -> Option<String> {
        let pairs = self.certificates.pairs();
        let mut names = pairs.iter().flat_map(|pair| pair.names());
        names.find(|name| !name.starts_with('*')).cloned()
    }

    /// Says which certificates there are.
    fn tell(&self) {
        for pair in self.certificates.pairs() {
            log::info!("{}", in_words(&pair));
            if let Err(error) = pair.demand_valid()
                && matches!(error.fault(), CertFault::NotYetValid { .. })
            {
                log::warn!("{error}");
            }
        }
    }

    /// Reads all files again. If anything is wrong with one, nothing changes.
    fn reload(&mut self) -> Result<Reloaded, String> {
        let (pairs, roots) = read(&self.files, self.client_ca.as_ref())?;
        let before = self.certificates.replace(pairs.clone());
        let before = before.map_err(|error| error.to_string())?;
        if let (Some(clients), Some(roots)) = (&self.clients, roots) {
            clients.replace(&roots).map_err(|error| error.to_string())?;
        }
        let changed = pairs.iter().zip(&before).filter(|(new, old)| new != old);
        let changed: Vec<_> = changed.collect();
        for (new, old) in &changed {
            let until = date(old.not_after());
            log::info!("{}; the one before until {until}", in_words(new));
        }
        let reloaded = Reloaded {
            certificates: pairs.len(),
            changed: changed.len(),
        };
        self.watch.next = None;
        Ok(reloaded)
    }

    /// Says it if certificates expire soon; returns when to be called again.
    fn after_turn(&mut self) -> Duration {
        if let Some(next) = self.watch.next {
            let left = next.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                return left;
            }
        }
        // Without a date nothing can be said.
        if let Ok(now) = SystemTime::now().duration_since(UNIX_EPOCH) {
            let pairs = self.certificates.pairs();
            for (level, line) in self.watch.due(&pairs, UnixTime::since_unix_epoch(now)) {
                log::log!(level, "{line}");
            }
        }
        self.watch.next = Some(Instant::now() + LOOK_EVERY);
        LOOK_EVERY
    }
}

/// Warns if everybody may read a key.
fn public_key(files: &PairFiles) -> Option<String> {
    let key = files.key.display();
    (files.is_key_public() == Some(true)).then(|| {
        format!("{key}: every user of this machine may read the private key; chmod o-r {key}")
    })
}

/// Reads every pair and the roots of clients. What is wrong begins with the flag.
fn read(
    files: &[PairFiles],
    client_ca: Option<&PathBuf>,
) -> Result<(Vec<Pair>, Option<Roots>), String> {
    let pairs = files.iter().map(|files| {
        let read = files.read();
        read.map_err(|error| format!("{} {error}", flag_of(&error, files)))
    });
    let pairs = pairs.collect::<Result<_, _>>()?;
    let roots = client_ca.map(|file| Roots::read(file)).transpose();
    let roots = roots.map_err(|error| format!("--client-ca {error}"))?;
    Ok((pairs, roots))
}

/// Returns the flag that a fault is about; both may name one file.
pub(crate) fn flag_of(error: &CertError, files: &PairFiles) -> &'static str {
    let is_of_key = matches!(
        error.fault(),
        CertFault::NoKey
            | CertFault::EncryptedKey
            | CertFault::UnusableKey(_)
            | CertFault::OtherKey { .. }
    );
    match is_of_key || error.file() != Some(&*files.cert) {
        true => "--key",
        false => "--cert",
    }
}

/// Says when certificates are about to expire, and that they have: once for each mark that they pass, and once
/// a day.
#[derive(Debug, Default)]
struct Watch {
    told: Vec<Told>,
    /// When to look again.
    next: Option<Instant>,
}

/// What was last said of a certificate.
#[derive(Debug)]
struct Told {
    pair: Pair,
    /// How many marks it had passed.
    passed: usize,
    at: UnixTime,
}

impl Watch {
    /// Returns what there is to say.
    fn due(&mut self, pairs: &[Pair], now: UnixTime) -> Vec<(Level, String)> {
        self.told.retain(|told| pairs.contains(&told.pair));
        let mut said = Vec::new();
        for pair in pairs {
            let passed = passed(pair, now);
            let is_new = |told: &Told| {
                let since = now.as_secs().saturating_sub(told.at.as_secs());
                passed > told.passed || since >= DAY
            };
            let last = self.told.iter().position(|told| told.pair == *pair);
            if passed == 0 || last.is_some_and(|last| !is_new(&self.told[last])) {
                continue;
            }
            if let Some(last) = last {
                self.told.swap_remove(last);
            }
            let at = now;
            let pair = pair.clone();
            said.push(warning(&pair, now));
            self.told.push(Told { pair, passed, at });
        }
        said
    }
}

/// Returns how many marks a certificate has passed.
fn passed(pair: &Pair, now: UnixTime) -> usize {
    match pair.left(now) {
        None => MARKS.len() + 1,
        Some(left) => {
            let is_passed = |days: &&u64| left.as_secs() < **days * DAY;
            MARKS.iter().filter(is_passed).count()
        }
    }
}

fn warning(pair: &Pair, now: UnixTime) -> (Level, String) {
    let (file, until) = (file(pair), date(pair.not_after()));
    let advice = "renew it, then send SIGHUP";
    match pair.left(now) {
        None => {
            let said = format!("{file}: the certificate expired at {until}; {advice}");
            (Level::Error, said)
        }
        Some(left) => {
            let left = match left.as_secs() / DAY {
                0 => format!("{} hours", left.as_secs() / HOUR),
                1 => "1 day".into(),
                days => format!("{days} days"),
            };
            let said = format!("{file}: the certificate expires in {left}, at {until}; {advice}");
            (Level::Warn, said)
        }
    }
}

/// Says whom a certificate is for, and until when.
fn in_words(pair: &Pair) -> String {
    let names = match pair.names() {
        [] => "no name".into(),
        names if names.len() > SHOWN => {
            let more = names.len() - SHOWN;
            format!("{} and {more} more", names[..SHOWN].join(", "))
        }
        names => names.join(", "),
    };
    let until = date(pair.not_after());
    format!(
        "{}: certificate for {names}, valid until {until}",
        file(pair)
    )
}

fn file(pair: &Pair) -> String {
    let files = pair.files();
    files.map_or_else(String::new, |files| files.cert.display().to_string())
}

fn date(time: UnixTime) -> String {
    let since = Duration::from_secs(time.as_secs().min(LAST_DATE));
    format_rfc3339_seconds(UNIX_EPOCH + since).to_string()
}

fn times(count: usize) -> String {
    match count {
        1 => "once".into(),
        2 => "twice".into(),
        count => format!("{count} times"),
    }
}

/// Days before the end at which something is said.
const MARKS: [u64; 5] = [30, 14, 7, 3, 1];

/// How often the dates are looked at: a mark is told at most this late.
const LOOK_EVERY: Duration = Duration::from_secs(HOUR);

/// Names of a certificate that are shown.
const SHOWN: usize = 5;

/// The end of the year 9999, the last date that can be written.
const LAST_DATE: u64 = 253_402_300_799;

const HOUR: u64 = 60 * 60;

const DAY: u64 = 24 * HOUR;

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;
    use crate::samples::{Root, unix};

    fn at(days: i64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(unix(days)))
    }

    fn pair(until: i64) -> Pair {
        let issued = Root::new().issue(&["a.example"], -50, until);
        Pair::from_pem(issued.chain.as_bytes(), issued.key.as_bytes()).expect("a pair")
    }

    #[test]
    fn an_end_is_told_at_each_mark_and_once_a_day() {
        let (mut watch, pairs) = (Watch::default(), [pair(100)]);
        let mut said = |days: i64| watch.due(&pairs, at(days)).len();
        // Thirty whole days are left until the 70th.
        assert_eq!((said(0), said(70)), (0, 0));
        assert_eq!((said(71), said(71), said(72)), (1, 0, 1));
        let hour =
            |hours: u64| UnixTime::since_unix_epoch(Duration::from_secs(unix(98) + hours * HOUR));
        // Between two days of the clock a mark is passed.
        assert_eq!(watch.due(&pairs, hour(1)).len(), 1);
        assert_eq!(watch.due(&pairs, hour(24)).len(), 0);
        let (level, line) = &watch.due(&pairs, hour(25))[0];
        assert_eq!(*level, Level::Warn);
        assert!(line.contains("expires in 23 hours, at "), "{line}");
        let (level, line) = &watch.due(&pairs, at(101))[0];
        assert_eq!(*level, Level::Error);
        assert!(line.contains("expired at "), "{line}");
        assert_eq!(watch.due(&pairs, at(101)).len(), 0);
        assert_eq!(watch.due(&pairs, at(102)).len(), 1);
    }

    #[test]
    fn a_renewed_certificate_is_told_of_for_itself() {
        let mut watch = Watch::default();
        let (old, new) = (pair(5), pair(90));
        assert_eq!(watch.due(slice::from_ref(&old), at(0)).len(), 1);
        assert_eq!(watch.due(&[new], at(0)).len(), 0);
        assert_eq!(watch.due(&[old], at(0)).len(), 1);
    }
}
