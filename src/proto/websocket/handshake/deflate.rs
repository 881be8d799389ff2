//! Agreement on permessage-deflate (RFC 7692, section 7.1): what a client offers, what a server answers.

use super::extension::{is_extension, parameters_of};
use crate::config::DeflateConfig;

/// What both sides have agreed on about compressed messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateAgreement {
    /// Whether our messages may refer to earlier ones.
    pub takeover: bool,
    /// Whether the peer's messages may.
    pub peer_takeover: bool,
    /// How far back our messages refer at most: two to the power of this, bytes. 8 to 15.
    pub window_bits: u8,
    /// How far back the peer's messages refer at most.
    pub peer_window_bits: u8,
}

impl DeflateAgreement {
    /// Answers as a server the offers of a client: elements of its list of extensions, in its order of
    /// preference. Returns what is agreed on, and the answer. `None`: no offer can be fulfilled.
    pub(crate) fn answer<'a>(
        config: &DeflateConfig,
        offers: impl Iterator<Item = &'a [u8]>,
    ) -> Option<(Self, String)> {
        offers
            .filter_map(Parameters::parse)
            .find_map(|offer| Self::accept(config, &offer))
    }

    /// Accepts an offer, if it can be fulfilled.
    fn accept(config: &DeflateConfig, offer: &Parameters) -> Option<(Self, String)> {
        // 7.1.2.1: it has a value.
        let asked = match offer.server_bits {
            None => LARGEST,
            Some(asked) => asked?,
        };
        let agreed = Self {
            takeover: config.takeover && !offer.server_no_takeover,
            peer_takeover: config.peer_takeover && !offer.client_no_takeover,
            window_bits: config.window_bits.min(asked),
            // 7.1.2.2: it must not be in the answer, if it is not in the offer.
            peer_window_bits: match offer.client_bits {
                None => LARGEST,
                Some(most) => config.peer_window_bits.min(most.unwrap_or(LARGEST)),
            },
        };
        if agreed.window_bits < LEAST_OF_OURS {
            return None;
        }
        let bits = |bits, is_asked: bool| (is_asked || bits < LARGEST).then_some(Some(bits));
        let answer = Parameters {
            server_no_takeover: !agreed.takeover,
            client_no_takeover: !agreed.peer_takeover,
            server_bits: bits(agreed.window_bits, offer.server_bits.is_some()),
            client_bits: bits(
                agreed.peer_window_bits,
                offer.client_bits.flatten().is_some(),
            ),
        };
        Some((agreed, answer.write()))
    }

    /// Returns what a client offers.
    pub(crate) fn offer(config: &DeflateConfig) -> String {
        Self::offered(config).write()
    }

    fn offered(config: &DeflateConfig) -> Parameters {
        let asked = |bits: u8| (bits < LARGEST).then_some(bits);
        Parameters {
            server_no_takeover: !config.peer_takeover,
            client_no_takeover: !config.takeover,
            server_bits: asked(config.peer_window_bits).map(Some),
            // 7.1.2.2: without it, a server could not ask for a smaller window.
            client_bits: Some(asked(config.window_bits)),
        }
    }

    /// Checks as a client what a server has answered to our [offer](Self::offer): the elements of its
    /// list of extensions. `None` if it does not fit; the connection must fail then (RFC 7692, section
    /// 7.1, and RFC 6455, section 4.1, item 5).
    pub(crate) fn check<'a>(
        config: &DeflateConfig,
        mut answers: impl Iterator<Item = &'a [u8]>,
    ) -> Option<Self> {
        let answer = answers.next().filter(|answer| is_extension(answer))?;
        if answers.next().is_some() {
            return None;
        }
        let (answer, offer) = (Parameters::parse(answer)?, Self::offered(config));
        // 7.1.1.1: whoever accepts an offer with it "MUST include" it.
        if offer.server_no_takeover && !answer.server_no_takeover {
            return None;
        }
        // 7.1.2: in an answer, both have a value, which is no larger than that of the offer.
        let bits_of = |bits: Option<Option<u8>>| bits.map_or(Some(LARGEST), |bits| bits);
        let peer_window_bits = bits_of(answer.server_bits)?;
        let window_bits = bits_of(answer.client_bits)?;
        if peer_window_bits > config.peer_window_bits {
            return None;
        }
        if answer.client_bits.is_some() && window_bits > config.window_bits {
            return None;
        }
        Some(Self {
            takeover: config.takeover && !answer.client_no_takeover,
            peer_takeover: !answer.server_no_takeover,
            window_bits: window_bits.min(config.window_bits),
            peer_window_bits,
        })
    }

    /// Says whether we can compress at all: a window of 256 bytes is none that our compressor has.
    pub(crate) fn can_compress(self) -> bool {
        self.window_bits >= LEAST_OF_OURS
    }
}

/// The parameters of one offer or answer.
#[derive(Debug, Default)]
struct Parameters {
    server_no_takeover: bool,
    client_no_takeover: bool,
    server_bits: Option<Option<u8>>,
    client_bits: Option<Option<u8>>,
}

impl Parameters {
    /// Reads an element of the list. `None` if it is another extension, or has a parameter that is
    /// unknown, is repeated or has an invalid value (7.1: such an offer must be declined, and such an
    /// answer fails the connection).
    fn parse(element: &[u8]) -> Option<Self> {
        let mut parameters = Self::default();
        for (name, value) in parameters_of(NAME, element)? {
            let is_first = match name {
                SERVER_NO_TAKEOVER => set(&mut parameters.server_no_takeover, value.as_deref()),
                CLIENT_NO_TAKEOVER => set(&mut parameters.client_no_takeover, value.as_deref()),
                SERVER_BITS => {
                    // 7.1.2.1: it always has a value.
                    let bits = bits(value.as_deref()?)?;
                    parameters.server_bits.replace(Some(bits)).is_none()
                }
                CLIENT_BITS => {
                    let bits = match value {
                        Some(value) => Some(bits(&value)?),
                        None => None,
                    };
                    parameters.client_bits.replace(bits).is_none()
                }
                _ => false,
            };
            if !is_first {
                return None;
            }
        }
        Some(parameters)
    }

    fn write(&self) -> String {
        let mut text = NAME.to_owned();
        let mut add = |name: &[u8], value: Option<u8>| {
            text.push_str("; ");
            text.extend(name.iter().copied().map(char::from));
            if let Some(value) = value {
                text.push_str(&format!("={value}"));
            }
        };
        if self.server_no_takeover {
            add(SERVER_NO_TAKEOVER, None);
        }
        if self.client_no_takeover {
            add(CLIENT_NO_TAKEOVER, None);
        }
        if let Some(bits) = self.server_bits {
            add(SERVER_BITS, bits);
        }
        if let Some(bits) = self.client_bits {
            add(CLIENT_BITS, bits);
        }
        text
    }
}

/// Sets a parameter that has no value. Says whether it was not set, and indeed has none.
fn set(parameter: &mut bool, value: Option<&[u8]>) -> bool {
    !std::mem::replace(parameter, true) && value.is_none()
}

/// Reads the size of a window: "a decimal integer value without leading zeroes between 8 to 15".
fn bits(value: &[u8]) -> Option<u8> {
    match *value {
        [digit @ b'8'..=b'9'] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

const NAME: &str = "permessage-deflate";
const SERVER_NO_TAKEOVER: &[u8] = b"server_no_context_takeover";
const CLIENT_NO_TAKEOVER: &[u8] = b"client_no_context_takeover";
const SERVER_BITS: &[u8] = b"server_max_window_bits";
const CLIENT_BITS: &[u8] = b"client_max_window_bits";

/// The largest window, and the smallest that our compressor has.
const LARGEST: u8 = 15;
const LEAST_OF_OURS: u8 = 9;

#[cfg(test)]
mod tests;
