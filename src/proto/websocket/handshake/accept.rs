//! The value with which a server proves that it has read the client's key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// Returns the `Sec-WebSocket-Accept` for a key, as the key was sent (RFC 6455, section 4.2.2). For a
/// server that answers the upgrade itself; see [`Context::adopt`](crate::Context::adopt).
///
/// ```
/// use heartwheel::proto::websocket::handshake::accept_of;
///
/// // The sample of RFC 6455, section 1.3.
/// assert_eq!(&accept_of(b"dGhlIHNhbXBsZSBub25jZQ=="), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
/// ```
pub fn accept_of(key: &[u8]) -> [u8; 28] {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    let mut accept = [0; 28];
    let len = STANDARD.encode_slice(digest, &mut accept);
    debug_assert_eq!(
        len,
        Ok(accept.len()),
        "20 bytes are 28 characters of base64"
    );
    accept
}

/// The constant of RFC 6455, section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_key_of_rfc_6455_section_1_3_gives_its_accept() {
        let accept = accept_of(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(&accept, b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
