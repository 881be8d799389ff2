//! Names for what goes wrong in TLS.

use std::fmt::Debug;

use rustls::{AlertDescription, CertificateError, Error, OtherError};

/// Returns a short stable name in lower case for an error of rustls, for records and counters.
///
/// - An alert of the peer has the name of RFC 8446, section 6: `unknown_ca`, `handshake_failure`. One that has
///   no name is `alert_` with its number.
/// - A certificate that we refuse has the reason: `certificate_expired`, `certificate_unknown_issuer`,
///   `certificate_not_valid_for_name`.
/// - For anything else the alert that we send is named, or the rule that was broken:
///   `unexpected_message`, `no_cipher_suites_in_common`.
///
/// Every error has a name, also those of later versions of rustls. The name does not say who refused: an alert
/// is [`Error::AlertReceived`].
///
/// ```
/// use heartwheel::rustls::{AlertDescription, CertificateError, Error};
/// use heartwheel::tls::fault_name;
///
/// assert_eq!(fault_name(&Error::AlertReceived(AlertDescription::UnknownCA)), "unknown_ca");
/// let refused = Error::InvalidCertificate(CertificateError::UnknownIssuer);
/// assert_eq!(fault_name(&refused), "certificate_unknown_issuer");
/// ```
pub fn fault_name(error: &Error) -> String {
    let name = match error {
        Error::AlertReceived(alert) => return alert_name(*alert),
        Error::InvalidCertificate(fault) => return certificate_fault_name(fault),
        Error::PeerIncompatible(fault) => return in_snake_case(fault),
        Error::PeerMisbehaved(fault) => return in_snake_case(fault),
        Error::InvalidMessage(fault) => return in_snake_case(fault),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "unexpected_message"
        }
        Error::DecryptError => "bad_record_mac",
        Error::PeerSentOversizedRecord => "record_overflow",
        Error::NoApplicationProtocol => "no_application_protocol",
        Error::NoCertificatesPresented => "certificate_required",
        Error::InvalidCertRevocationList(_) => "certificate_revocation_list_invalid",
        Error::InconsistentKeys(_) => "inconsistent_keys",
        Error::General(_) => "internal_error",
        Error::Other(_) => "other",
        other => return in_snake_case(other),
    };
    name.into()
}

/// Returns the name of an alert, as the RFCs write it (RFC 8446, section 6; RFC 5246, section 7.2).
fn alert_name(alert: AlertDescription) -> String {
    let name = match u8::from(alert) {
        0 => "close_notify",
        10 => "unexpected_message",
        20 => "bad_record_mac",
        21 => "decryption_failed",
        22 => "record_overflow",
        30 => "decompression_failure",
        40 => "handshake_failure",
        41 => "no_certificate",
        42 => "bad_certificate",
        43 => "unsupported_certificate",
        44 => "certificate_revoked",
        45 => "certificate_expired",
        46 => "certificate_unknown",
        47 => "illegal_parameter",
        48 => "unknown_ca",
        49 => "access_denied",
        50 => "decode_error",
        51 => "decrypt_error",
        60 => "export_restriction",
        70 => "protocol_version",
        71 => "insufficient_security",
        80 => "internal_error",
        86 => "inappropriate_fallback",
        90 => "user_canceled",
        100 => "no_renegotiation",
        109 => "missing_extension",
        110 => "unsupported_extension",
        111 => "certificate_unobtainable",
        112 => "unrecognized_name",
        113 => "bad_certificate_status_response",
        114 => "bad_certificate_hash_value",
        115 => "unknown_psk_identity",
        116 => "certificate_required",
        120 => "no_application_protocol",
        121 => "ech_required",
        number => return format!("alert_{number}"),
    };
    name.into()
}

fn certificate_fault_name(fault: &CertificateError) -> String {
    let reason = match fault {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "not_valid_yet"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "not_valid_for_name"
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "invalid_purpose"
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "unsupported_signature_algorithm"
        }
        CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => "expired_revocation_list",
        CertificateError::Other(OtherError(error)) => {
            return match error.downcast_ref::<webpki::Error>() {
                Some(error) => format!("certificate_{}", in_snake_case(error)),
                None => "certificate_refused".into(),
            };
        }
        // The others carry nothing, so that their name is all that they say.
        other => return format!("certificate_{}", in_snake_case(other)),
    };
    format!("certificate_{reason}")
}

/// Returns the name of a variant, without what it carries: `no_cipher_suites_in_common`.
fn in_snake_case(variant: &impl Debug) -> String {
    let written = format!("{variant:?}");
    let is_name = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
    let letters: Vec<_> = written.chars().take_while(is_name).collect();
    let mut name = String::with_capacity(letters.len() + 8);
    for (place, letter) in letters.iter().enumerate() {
        let is_after_small = place > 0 && !letters[place - 1].is_ascii_uppercase();
        let is_before_small = letters.get(place + 1).is_some_and(char::is_ascii_lowercase);
        let begins = letter.is_ascii_uppercase() && (is_after_small || is_before_small);
        if begins && place > 0 && letters[place - 1] != '_' {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    match name.is_empty() {
        true => "other".into(),
        false => name,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{InvalidMessage, PeerIncompatible, PeerMisbehaved};

    use super::*;

    #[test]
    fn every_alert_has_a_name_of_its_own() {
        let names: std::collections::HashSet<_> = (0..=u8::MAX)
            .map(|number| fault_name(&Error::AlertReceived(number.into())))
            .collect();
        assert_eq!(names.len(), 256);
        for (alert, name) in [
            (
                AlertDescription::NoApplicationProtocol,
                "no_application_protocol",
            ),
            (AlertDescription::BadCertificate, "bad_certificate"),
            (AlertDescription::ProtocolVersion, "protocol_version"),
            (AlertDescription::UnrecognisedName, "unrecognized_name"),
            (AlertDescription::Unknown(200), "alert_200"),
        ] {
            assert_eq!(fault_name(&Error::AlertReceived(alert)), name);
        }
    }

    #[test]
    fn a_refused_certificate_has_its_reason() {
        let ca = webpki::Error::CaUsedAsEndEntity;
        for (fault, name) in [
            (CertificateError::Expired, "certificate_expired"),
            (CertificateError::NotValidYet, "certificate_not_valid_yet"),
            (
                CertificateError::UnknownIssuer,
                "certificate_unknown_issuer",
            ),
            (
                CertificateError::NotValidForName,
                "certificate_not_valid_for_name",
            ),
            (CertificateError::BadEncoding, "certificate_bad_encoding"),
            (CertificateError::Revoked, "certificate_revoked"),
            (
                CertificateError::Other(OtherError(Arc::new(ca))),
                "certificate_ca_used_as_end_entity",
            ),
        ] {
            assert_eq!(fault_name(&Error::InvalidCertificate(fault)), name);
        }
    }

    #[test]
    fn anything_else_is_named_after_what_is_wrong() {
        for (error, name) in [
            (
                Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon),
                "no_cipher_suites_in_common",
            ),
            (
                Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered),
                "tls12_not_offered",
            ),
            (
                Error::PeerMisbehaved(PeerMisbehaved::TooManyEmptyFragments),
                "too_many_empty_fragments",
            ),
            (
                Error::InvalidMessage(InvalidMessage::MissingData("ClientHello")),
                "missing_data",
            ),
            (
                Error::InvalidMessage(InvalidMessage::InvalidCcs),
                "invalid_ccs",
            ),
            (Error::DecryptError, "bad_record_mac"),
            (Error::NoApplicationProtocol, "no_application_protocol"),
            (Error::FailedToGetRandomBytes, "failed_to_get_random_bytes"),
            (Error::General("oops".into()), "internal_error"),
        ] {
            assert_eq!(fault_name(&error), name);
        }
    }
}
