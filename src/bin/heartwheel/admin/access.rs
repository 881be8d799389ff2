//! Who may ask the admin listener for what.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use heartwheel::config::WebConfig;
use heartwheel::proto::http::Request;

use crate::Failure;
use crate::listening::Place;

/// The listener for operators.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "For operators")]
pub(crate) struct AdminFlags {
    /// Answer operators and monitoring on this address, by HTTP: /metrics, /api/conns and others. Others than
    /// this machine need a token
    #[arg(long, value_name = "ADDR", value_parser = Place::parse)]
    admin: Option<Place>,

    /// Demand the token in this file, as Authorization: Bearer TOKEN
    #[arg(long, value_name = "FILE")]
    admin_token: Option<PathBuf>,

    /// Who has the token in this file may look, but change nothing
    #[arg(long, value_name = "FILE")]
    admin_read_token: Option<PathBuf>,
}

/// What somebody wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Look,
    Act,
}

/// Whom to believe.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Access {
    /// May do anything.
    act: Option<String>,
    /// May look.
    look: Option<String>,
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    /// There is no token, or none that is known.
    Unknown,
    /// The token is for looking only.
    OnlyLooks,
    /// A page of another site asks.
    OtherSite,
}

impl AdminFlags {
    /// Returns where to listen, if anywhere. Nobody asked for a listener, if `is_default`.
    pub(crate) fn place(&self, is_default: bool) -> Option<Place> {
        let usual = || Place::Tcp(([127, 0, 0, 1], USUAL_PORT).into());
        self.admin.clone().or_else(|| is_default.then(usual))
    }

    /// Returns where to listen as it was asked for, and the files of the tokens.
    pub(crate) fn shown(&self) -> (Option<&Place>, Option<&PathBuf>, Option<&PathBuf>) {
        let Self {
            admin,
            admin_token,
            admin_read_token,
        } = self;
        (
            admin.as_ref(),
            admin_token.as_ref(),
            admin_read_token.as_ref(),
        )
    }

    /// Reads the tokens. Whoever can reach the listener from elsewhere needs one.
    pub(crate) fn access(&self, place: &Place) -> Result<Access, Failure> {
        if let Place::Tcp(addr) = place
            && !addr.ip().is_loopback()
            && self.admin_token.is_none()
        {
            return Err(Failure::usage(format!(
                "--admin {addr} can be reached by others; add --admin-token FILE, or listen on 127.0.0.1 or on \
                 unix:PATH"
            )));
        }
        let read = |flag: &str, file: &Option<PathBuf>| {
            let file = file.as_deref();
            file.map(|file| token(flag, file)).transpose()
        };
        Ok(Access {
            act: read("--admin-token", &self.admin_token)?,
            look: read("--admin-read-token", &self.admin_read_token)?,
        })
    }
}

/// Returns which names a request to the listener may use: a page elsewhere could make its own name lead here.
pub(crate) fn names(place: &Place) -> WebConfig {
    let is_loopback = matches!(place, Place::Tcp(addr) if addr.ip().is_loopback());
    WebConfig {
        loopback_hosts: is_loopback,
        ..WebConfig::default()
    }
}

fn token(flag: &str, file: &Path) -> Result<String, Failure> {
    let shown = file.display();
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::usage(format!("{flag} {shown}: cannot be read: {error}")))?;
    let token = text.trim();
    match token.len() >= SHORTEST && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(token.to_owned()),
        false => Err(Failure::usage(format!(
            "{flag} {shown}: needs a line of at least {SHORTEST} letters and digits, such as \
             openssl rand -hex 16 prints"
        ))),
    }
}

impl Access {
    /// Says whether this request may do what it wishes.
    pub(crate) fn check(&self, request: &Request<'_>, wish: Wish) -> Result<(), Denial> {
        if wish == Wish::Act && !is_same_site(request) {
            return Err(Denial::OtherSite);
        }
        if self.act.is_none() && (self.look.is_none() || wish == Wish::Act) {
            return Ok(());
        }
        let given = request.header("Authorization");
        let given = given.and_then(|value| value.strip_prefix(b"Bearer ".as_slice()));
        let is = |token: &Option<String>| {
            token
                .as_ref()
                .is_some_and(|token| given.is_some_and(|given| is_equal(given, token.as_bytes())))
        };
        match (is(&self.act), is(&self.look), wish) {
            (true, _, _) | (false, true, Wish::Look) => Ok(()),
            (false, true, Wish::Act) => Err(Denial::OnlyLooks),
            (false, false, _) => Err(Denial::Unknown),
        }
    }
}

/// Says whether no page asks, or one that came from here.
fn is_same_site(request: &Request<'_>) -> bool {
    let Some(origin) = request.header("Origin") else {
        return true;
    };
    let host = request.header("Host").unwrap_or_default();
    let authority = origin.strip_prefix(b"http://".as_slice());
    let authority = authority.or_else(|| origin.strip_prefix(b"https://".as_slice()));
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

/// Compares in a time that does not tell how much is alike.
fn is_equal(given: &[u8], token: &[u8]) -> bool {
    let pairs = given.iter().zip(token);
    let other = pairs.fold(0, |other, (a, b)| other | (a ^ b));
    given.len() == token.len() && other == 0
}

/// The port for operators, where nobody asked for any.
const USUAL_PORT: u16 = 9003;

/// A shorter token could be guessed.
const SHORTEST: usize = 16;

#[cfg(test)]
mod tests {
    use heartwheel::proto::http::HeadLimits;

    use super::*;

    fn check(access: &Access, head: &str, wish: Wish) -> Result<(), Denial> {
        let text = format!("GET / HTTP/1.1\r\nHost: localhost:9003\r\n{head}\r\n");
        let parsed = Request::parse(text.as_bytes(), &HeadLimits::default());
        let (request, _) = parsed.expect("a request").expect("all of it");
        access.check(&request, wish)
    }

    #[test]
    fn tokens_open_what_they_are_for() {
        let both = Access {
            act: Some("acts-acts-acts-acts".into()),
            look: Some("looks-looks-looks".into()),
        };
        let (acts, looks) = (
            "Authorization: Bearer acts-acts-acts-acts\r\n",
            "Authorization: Bearer looks-looks-looks\r\n",
        );
        for (head, look, act) in [
            (acts, Ok(()), Ok(())),
            (looks, Ok(()), Err(Denial::OnlyLooks)),
            ("", Err(Denial::Unknown), Err(Denial::Unknown)),
            (
                "Authorization: Bearer acts-acts-acts-actz\r\n",
                Err(Denial::Unknown),
                Err(Denial::Unknown),
            ),
            (
                "Authorization: Basic acts-acts-acts-acts\r\n",
                Err(Denial::Unknown),
                Err(Denial::Unknown),
            ),
        ] {
            assert_eq!(check(&both, head, Wish::Look), look, "{head}");
            assert_eq!(check(&both, head, Wish::Act), act, "{head}");
        }
    }

    #[test]
    fn pages_of_other_sites_change_nothing() {
        let anybody = Access {
            act: None,
            look: None,
        };
        for (head, act) in [
            ("", Ok(())),
            ("Origin: http://localhost:9003\r\n", Ok(())),
            ("Origin: http://evil.example\r\n", Err(Denial::OtherSite)),
            ("Origin: null\r\n", Err(Denial::OtherSite)),
        ] {
            assert_eq!(check(&anybody, head, Wish::Act), act, "{head}");
            assert_eq!(check(&anybody, head, Wish::Look), Ok(()));
        }
    }
}
