//! Files of certificates and keys (RFC 7468).

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::error::{CertError, CertFault};

/// Reads a file, whatever is in it.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, CertError> {
    let read = || {
        let mut bytes = Vec::new();
        File::open(file)?
            .take(LARGEST + 1)
            .read_to_end(&mut bytes)?;
        io::Result::Ok(bytes)
    };
    match read() {
        Ok(bytes) if bytes.len() as u64 > LARGEST => Err(CertFault::TooLarge.into()),
        Ok(bytes) => Ok(bytes),
        Err(error) => Err(CertError::new(CertFault::Unreadable {
            kind: error.kind(),
            reason: error.to_string(),
        })),
    }
    .map_err(|error| error.of(file))
}

/// Returns all certificates of a text, in their order. At least one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertError> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    match all.map_err(not_pem)? {
        none if none.is_empty() => Err(CertFault::NoCertificate.into()),
        all => Ok(all),
    }
}

/// Returns the first private key of a text: PKCS #8 (RFC 5958), SEC 1 (RFC 5915) or PKCS #1 (RFC 8017).
pub(super) fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, CertError> {
    if is_encrypted(pem) {
        return Err(CertFault::EncryptedKey.into());
    }
    match PrivateKeyDer::from_pem_slice(pem) {
        Ok(key) => Ok(key),
        Err(Error::NoItemsFound) => Err(CertFault::NoKey.into()),
        Err(error) => Err(not_pem(error)),
    }
}

/// Says whether a private key is encrypted, in the way of PKCS #8 or in the older one of OpenSSL.
fn is_encrypted(pem: &[u8]) -> bool {
    let marks = [
        &b"BEGIN ENCRYPTED PRIVATE KEY"[..],
        b"Proc-Type: 4,ENCRYPTED",
    ];
    let has = |mark: &[u8]| pem.windows(mark.len()).any(|part| part == mark);
    marks.into_iter().any(has)
}

/// Says what is wrong without showing what may be a key.
fn not_pem(error: Error) -> CertError {
    let reason = match error {
        Error::MissingSectionEnd { end_marker } => {
            format!(
                "the line -----END {}----- is missing",
                String::from_utf8_lossy(&end_marker)
            )
        }
        Error::IllegalSectionStart { .. } => "a BEGIN line is malformed".into(),
        Error::Base64Decode(_) => "a section is not base64".into(),
        _ => "a section is malformed".into(),
    };
    CertFault::NotPem(reason).into()
}

/// More than any bundle of roots has.
const LARGEST: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_pem_is_told_without_its_content() {
        let fault = |pem: &str| {
            certificates(pem.as_bytes())
                .expect_err("no PEM")
                .to_string()
        };
        assert!(fault("").contains("has no certificate"));
        let cut = fault("-----BEGIN CERTIFICATE-----\nAAAA\n");
        assert!(cut.contains("-----END CERTIFICATE-----"), "{cut}");
        let garbled = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0!!\n-----END PRIVATE KEY-----\n";
        let garbled = key(garbled.as_bytes()).expect_err("no base64").to_string();
        assert!(
            garbled.contains("base64") && !garbled.contains("c2Vj"),
            "{garbled}"
        );
    }

    #[test]
    fn an_encrypted_key_and_none_are_told_apart() {
        for pem in [
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n",
        ] {
            let error = key(pem.as_bytes()).expect_err("it is encrypted");
            assert_eq!(*error.fault(), CertFault::EncryptedKey);
        }
        let error = key(b"# nothing\n").expect_err("there is none");
        assert_eq!(*error.fault(), CertFault::NoKey);
    }
}
