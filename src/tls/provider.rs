//! The cryptography, named explicitly.

use std::sync::{Arc, OnceLock};

use rustls::crypto::{CryptoProvider, ring};

use super::ciphers::with_small_keys;

/// Returns that of ring, the same each time. It builds with a C compiler and nothing else.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    let provider = PROVIDER.get_or_init(|| {
        let mut provider = ring::default_provider();
        let suites = provider.cipher_suites.into_iter();
        provider.cipher_suites = suites.map(with_small_keys).collect();
        Arc::new(provider)
    });
    Arc::clone(provider)
}
