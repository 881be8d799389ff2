//! TLS by rustls: certificates, keys and roots in files, made into configurations for listeners and clients.
//!
//! [`ServerTls`] and [`ClientTls`] make what `ListenerConfig::tls` and `ClientConfig::tls` take. You need
//! neither if you have a configuration of rustls already: both fields take any.
//!
//! | for | see |
//! | --- | --- |
//! | a certificate with its key, from files or memory | [`PairFiles`], [`Pair`] |
//! | several certificates chosen by server name, replaced while connections live | [`Certificates`] |
//! | certificates that clients must show | [`ClientRoots`] |
//! | whom a client believes | [`Trust`], [`Roots`] |
//! | what went wrong, in words | [`CertError`] |
//! | what went wrong, as a stable name | [`fault_name`] |
//!
//! What all these configurations have in common:
//!
//! - TLS 1.3 and 1.2, with the cryptography of ring. It is named explicitly: the default of the process
//!   ([`CryptoProvider::install_default`](rustls::crypto::CryptoProvider::install_default)) is neither used
//!   nor changed.
//! - A connection over TLS 1.3 keeps of a key no more than its bytes, and computes the rest for each record:
//!   a kilobyte less for a quarter of a microsecond each. Where every connection is busy all the time, a
//!   configuration of your own with rustls' provider
//!   ([`ring::default_provider`](rustls::crypto::ring::default_provider)) has it the other way.
//! - No early data (RFC 8446, section 2.3): anybody could send it again.
//! - ALPN (RFC 7301) names `http/1.1` on WebSocket, and nothing on other wires. A server refuses a client
//!   that offers only other protocols, and takes one that offers none.
//!
//! Nothing here knows loops, sockets or sessions. The time is that of the wall clock, because the dates in
//! certificates are. Reading files takes as long as the file system takes, so read them before the loop
//! runs, or rarely.
//!
//! # A server
//!
//! ```no_run
//! use heartwheel::WireKind;
//! use heartwheel::tls::{Certificates, PairFiles, ServerTls};
//!
//! # fn main() -> Result<(), heartwheel::tls::CertError> {
//! let files = PairFiles::new("fullchain.pem", "privkey.pem");
//! let certificates = Certificates::new(vec![files.read()?])?;
//! let config = ServerTls::new(certificates.clone(), WireKind::Line).config()?;
//! // Later, when the files have changed: live connections keep theirs, new ones get the new one.
//! certificates.replace(vec![files.read()?])?;
//! # drop(config);
//! # Ok(())
//! # }
//! ```
//!
//! # A client
//!
//! ```no_run
//! use std::path::Path;
//!
//! use heartwheel::WireKind;
//! use heartwheel::tls::{ClientTls, Roots, Trust};
//!
//! # fn main() -> Result<(), heartwheel::tls::CertError> {
//! let config = ClientTls {
//!     trust: Trust::Roots(Roots::read(Path::new("root.pem"))?),
//!     ..ClientTls::for_wire(WireKind::Line)
//! }
//! .config()?;
//! # drop(config);
//! # Ok(())
//! # }
//! ```

mod authorities;
mod calendar;
mod certificates;
mod ciphers;
mod client;
mod error;
mod fault;
mod insecure;
mod pair;
mod pem;
mod provider;
mod roots;
mod server;

pub use authorities::ClientRoots;
pub use certificates::Certificates;
pub use client::{ClientTls, Trust, client};
pub use error::{CertError, CertFault};
pub use fault::fault_name;
pub use pair::{Pair, PairFiles};
pub use roots::Roots;
pub use server::ServerTls;

#[cfg(test)]
mod tests;
