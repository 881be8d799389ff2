//! TLS of `connect`: whom it believes, and what it shows.

use std::path::PathBuf;

use clap::Args;
use heartwheel::error::Foreign;
use heartwheel::proto::http::HeadError;
use heartwheel::proto::websocket::handshake::ResponseError;
use heartwheel::tls::{CertError, ClientTls, Pair, PairFiles, Roots, Trust};
use heartwheel::{ClientConfig, DialError};

use crate::certs::flag_of;
use crate::{Failure, complain};

/// Returns what to do about a dial that TLS, or the lack of it, has ended.
pub(crate) fn advice(error: &DialError) -> &'static str {
    match error {
        DialError::Tls(reason) => match reason.as_str() {
            "certificate_unknown_issuer" => "; --ca FILE names a root that you trust",
            "certificate_not_valid_for_name" => "; --server-name NAME expects another name",
            "certificate_ca_used_as_end_entity" => {
                "; the server shows the certificate of an authority, and needs one that says CA:FALSE"
            }
            "certificate_required" => "; --cert FILE --key FILE shows a certificate",
            "invalid_content_type" => {
                "; does the server speak TLS there? ws:// and tcp:// do without"
            }
            _ => "",
        },
        DialError::Handshake(ResponseError::Head(HeadError::Foreign(Foreign::Tls))) => {
            "; wss:// speaks it"
        }
        _ => "",
    }
}

/// Whom to believe, and what to show.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "TLS (files in PEM)")]
pub(crate) struct TrustFlags {
    /// Believe servers whose certificate one in this file has signed, and no others [default: the roots of
    /// the system, or of SSL_CERT_FILE and SSL_CERT_DIR]
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    ca: Option<PathBuf>,

    /// Believe any server: whoever is on the path can read and change everything. For tests only
    #[arg(long)]
    insecure: bool,

    /// Certificate to show if the server asks for one, followed by those that sign it [default: none]
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,

    /// Private key of --cert, not encrypted
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,

    /// Name or IP address that the server's certificate must be for [default: the host of the URL]
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
}

impl TrustFlags {
    /// Gives a client what it needs to speak TLS, if its URL or a redirect may ask for it.
    pub(crate) fn apply(&self, config: &mut ClientConfig) -> Result<(), Failure> {
        if !config.secure && config.follow == 0 {
            return self.demand_none();
        }
        let identity = self.identity()?;
        config.server_name.clone_from(&self.server_name);
        let Some(trust) = self.trust(config.secure)? else {
            return Ok(());
        };
        let tls = ClientTls {
            trust,
            identity,
            ..ClientTls::for_wire(config.wire.kind())
        };
        let made = tls.config();
        config.tls = Some(made.map_err(|error| Failure::failed(error.to_string()))?);
        Ok(())
    }

    /// Returns whom to believe. `None`: nobody, and only a redirect would ask.
    fn trust(&self, is_secure: bool) -> Result<Option<Trust>, Failure> {
        if self.insecure {
            complain(format_args!(
                "WARNING: --insecure: nobody checks who the server is; whoever is on the path can read and \
                 change everything"
            ));
            return Ok(Some(Trust::Anybody));
        }
        if let Some(file) = &self.ca {
            let roots = Roots::read(file);
            let roots = roots.map_err(|error| Failure::usage(format!("--ca {error}")))?;
            return Ok(Some(Trust::Roots(roots)));
        }
        match Roots::system() {
            Ok(roots) => {
                for skipped in roots.skipped() {
                    log::warn!("roots of the system: {skipped}");
                }
                Ok(Some(Trust::Roots(roots)))
            }
            Err(_) if !is_secure => Ok(None),
            Err(error) => Err(Failure::failed(format!("{error} (--ca FILE)"))),
        }
    }

    fn identity(&self) -> Result<Option<Pair>, Failure> {
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else {
            return Ok(None);
        };
        let files = PairFiles::new(cert, key);
        let refused = |error: CertError| {
            let flag = flag_of(&error, &files);
            Failure::usage(format!("{flag} {error}"))
        };
        let pair = files.read().map_err(refused)?;
        if let Err(error) = pair.demand_valid() {
            log::warn!("{error}");
        }
        Ok(Some(pair))
    }

    /// Refuses what would have no effect.
    fn demand_none(&self) -> Result<(), Failure> {
        for (flag, is_given) in [
            ("--ca", self.ca.is_some()),
            ("--insecure", self.insecure),
            ("--cert", self.cert.is_some()),
            ("--server-name", self.server_name.is_some()),
        ] {
            if is_given {
                return Err(Failure::usage(format!(
                    "{flag} is for TLS; use wss://, tcps://, tcps+binary:// or tcps+raw://"
                )));
            }
        }
        Ok(())
    }
}
