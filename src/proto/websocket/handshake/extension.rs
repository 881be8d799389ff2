//! The syntax of `Sec-WebSocket-Extensions`, which a client offers and a server answers.

#[cfg(feature = "deflate")]
use std::borrow::Cow;

use crate::proto::http::head::is_token;

/// Returns whether these bytes are an extension with its parameters (RFC 6455, section 9.1). A
/// quoted value must be a token without its quotes, so it cannot contain a comma or a semicolon.
pub(super) fn is_extension(bytes: &[u8]) -> bool {
    let mut parts = bytes.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    parts.next().is_some_and(is_token) && parts.all(is_parameter)
}

fn is_parameter(bytes: &[u8]) -> bool {
    let Some(equals) = bytes.iter().position(|&byte| byte == b'=') else {
        return is_token(bytes);
    };
    let (name, value) = (
        bytes[..equals].trim_ascii(),
        bytes[equals + 1..].trim_ascii(),
    );
    is_token(name) && (is_token(value) || is_quoted_token(value))
}

fn is_quoted_token(bytes: &[u8]) -> bool {
    unquoted(bytes).is_some_and(|value| is_token(&value))
}

/// Returns the parameters of an extension with the [right syntax](is_extension), if it has this name.
#[cfg(feature = "deflate")]
pub(super) fn parameters_of<'a>(
    name: &str,
    bytes: &'a [u8],
) -> Option<impl Iterator<Item = Parameter<'a>>> {
    let mut parts = bytes.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
    let is_it = parts.next() == Some(name.as_bytes());
    is_it.then(|| parts.map(parameter))
}

/// The name of a parameter, and its value without quotes, if it has one.
#[cfg(feature = "deflate")]
type Parameter<'a> = (&'a [u8], Option<Cow<'a, [u8]>>);

#[cfg(feature = "deflate")]
fn parameter(bytes: &[u8]) -> Parameter<'_> {
    let Some(equals) = bytes.iter().position(|&byte| byte == b'=') else {
        return (bytes, None);
    };
    let value = bytes[equals + 1..].trim_ascii();
    let value = unquoted(value).map_or(Cow::Borrowed(value), Cow::Owned);
    (bytes[..equals].trim_ascii(), Some(value))
}

/// Returns what stands in quotes; `None` if the bytes are not quoted.
fn unquoted(bytes: &[u8]) -> Option<Vec<u8>> {
    let quoted = bytes
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))?;
    let mut value = Vec::with_capacity(quoted.len());
    let mut rest = quoted;
    while let [first, after @ ..] = rest {
        let (byte, behind) = match (first, after) {
            (b'\\', [escaped, behind @ ..]) => (*escaped, behind),
            (_, after) => (*first, after),
        };
        value.push(byte);
        rest = behind;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_extension_has_parameters_that_are_tokens() {
        // RFC 6455, 9.1
        for text in [
            "deflate-stream",
            "mux; max-channels=4; flow-control",
            "private-extension;a=\"b\"",
            "x ; a = b ;c",
            "x; a=\"\\b\\c\"",
        ] {
            assert!(is_extension(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            ";",
            "x;",
            "x;;a",
            "x;=b",
            "x;a=",
            "x; a=\"\"",
            "x; a=\"b",
            "x; a=b\"",
            "x; a=\"b c\"",
            "x; a=\"b\\\"",
            "x y",
            "(x)",
            "x=1",
            "x; a=b=c",
            "x; a=\"b\"c",
            "\"x\"",
            "x; a=\"",
            "x; \"a\"",
        ] {
            assert!(!is_extension(text.as_bytes()), "{text}");
        }
    }
}
