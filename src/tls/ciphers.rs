//! The ciphers of TLS 1.3, which keep no more of a key than its bytes.
//!
//! ring computes tables from a key, 544 bytes for each direction of a connection. A connection that is
//! mostly idle has no use for them, so here they are made anew for each record, which takes about a quarter
//! of a microsecond. All else is as in rustls' own provider: it counts records, cuts them, and changes keys.

use ring::aead::{self, Aad, LessSafeKey, UnboundKey};
use ring::error::Unspecified;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter,
    Nonce, OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm,
    UnsupportedOperationError, make_tls13_aad,
};
use rustls::{
    CipherSuite, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion,
    SupportedCipherSuite, Tls13CipherSuite,
};

/// Returns the suite with such a cipher, or as it is: those of TLS 1.2 are. Each call leaks some bytes.
pub(super) fn with_small_keys(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let SupportedCipherSuite::Tls13(theirs) = suite else {
        return suite;
    };
    let algorithm = match suite.suite() {
        CipherSuite::TLS13_AES_256_GCM_SHA384 => &aead::AES_256_GCM,
        CipherSuite::TLS13_AES_128_GCM_SHA256 => &aead::AES_128_GCM,
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => &aead::CHACHA20_POLY1305,
        _ => return suite,
    };
    let cipher = Cipher {
        algorithm,
        theirs: theirs.aead_alg,
    };
    SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
        common: rustls::crypto::CipherSuiteCommon { ..theirs.common },
        hkdf_provider: theirs.hkdf_provider,
        aead_alg: Box::leak(Box::new(cipher)),
        quic: None,
    })))
}

/// A cipher with keys of its length.
struct Cipher {
    algorithm: &'static aead::Algorithm,
    theirs: &'static dyn Tls13AeadAlgorithm,
}

impl Tls13AeadAlgorithm for Cipher {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(SmallKey::new(self.algorithm, key, iv))
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(SmallKey::new(self.algorithm, key, iv))
    }

    fn key_len(&self) -> usize {
        self.algorithm.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.theirs.extract_keys(key, iv)
    }
}

/// The key of one direction.
struct SmallKey {
    algorithm: &'static aead::Algorithm,
    key: AeadKey,
    iv: Iv,
}

impl SmallKey {
    const fn new(algorithm: &'static aead::Algorithm, key: AeadKey, iv: Iv) -> Self {
        Self { algorithm, key, iv }
    }

    /// Makes ready what the next record needs: the key, and a number that no other record has.
    fn ready(&self, seq: u64) -> Result<(LessSafeKey, aead::Nonce), Unspecified> {
        let key = UnboundKey::new(self.algorithm, self.key.as_ref())?;
        let nonce = aead::Nonce::assume_unique_for_key(Nonce::new(&self.iv, seq).0);
        Ok((LessSafeKey::new(key), nonce))
    }
}

// RFC 8446, section 5.2.

impl MessageEncrypter for SmallKey {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        seq: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let len = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(len);
        payload.extend_from_chunks(&message.payload);
        payload.extend_from_slice(&message.typ.to_array());
        let sealed = self.ready(seq).and_then(|(key, nonce)| {
            key.seal_in_place_append_tag(nonce, Aad::from(make_tls13_aad(len)), &mut payload)
        });
        sealed.map_err(|Unspecified| Error::EncryptError)?;
        let (typ, version) = (ContentType::ApplicationData, ProtocolVersion::TLSv1_2);
        Ok(OutboundOpaqueMessage::new(typ, version, payload))
    }

    fn encrypted_payload_len(&self, len: usize) -> usize {
        // The type of what is inside is a byte.
        len + 1 + self.algorithm.tag_len()
    }
}

impl MessageDecrypter for SmallKey {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        seq: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let payload = &mut message.payload;
        let aad = Aad::from(make_tls13_aad(payload.len()));
        let opened = self.ready(seq).and_then(|(key, nonce)| {
            let plain = key.open_in_place(nonce, aad, payload)?;
            Ok(plain.len())
        });
        let len = opened.map_err(|Unspecified| Error::DecryptError)?;
        payload.truncate(len);
        message.into_tls13_unpadded_message()
    }
}
