//! A range of IP addresses.

use std::error::Error as StdError;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

/// A range of IP addresses in CIDR notation (RFC 4632, section 3.1; RFC 4291, section 2.3): those
/// whose first bits are the same.
///
/// An address without a prefix length is the range of only that address. IPv4 addresses that are
/// mapped into IPv6 count as IPv4 addresses.
///
/// ```
/// use heartwheel::config::Network;
///
/// let network: Network = "10.0.0.0/8".parse()?;
/// assert!(network.contains("10.20.30.40".parse().unwrap()));
/// assert!(!network.contains("11.0.0.1".parse().unwrap()));
/// assert_eq!("192.0.2.1".parse::<Network>()?.to_string(), "192.0.2.1/32");
/// assert!("10.0.0.1/8".parse::<Network>().is_err());
/// # Ok::<(), heartwheel::config::NetworkError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

impl Network {
    /// Makes the range of addresses that share the first `prefix` bits of `first`.
    ///
    /// # Errors
    ///
    /// The prefix is longer than the address, or the address has bits behind it: most likely one of
    /// the two is a typing error.
    pub fn new(first: IpAddr, prefix: u8) -> Result<Self, NetworkError> {
        let network = match (first, first.to_canonical()) {
            (IpAddr::V6(_), mapped @ IpAddr::V4(_)) if prefix >= MAPPED => Self {
                first: mapped,
                prefix: prefix - MAPPED,
            },
            _ => Self { first, prefix },
        };
        if network.prefix > bits_of(network.first) {
            return Err(NetworkError::Prefix);
        }
        match network.rest_of(network.first) {
            0 => Ok(network),
            _ => Err(NetworkError::Bits),
        }
    }

    /// Says whether an address is in the range.
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        let is_of_family = ip.is_ipv4() == self.first.is_ipv4();
        is_of_family && number_of(ip) ^ self.rest_of(ip) == number_of(self.first)
    }

    /// Returns the bits of an address of this family that are behind the prefix.
    fn rest_of(&self, ip: IpAddr) -> u128 {
        let behind = u32::from(bits_of(ip).saturating_sub(self.prefix));
        match 1_u128.checked_shl(behind) {
            Some(end) => number_of(ip) & (end - 1),
            None => number_of(ip),
        }
    }
}

impl From<IpAddr> for Network {
    fn from(ip: IpAddr) -> Self {
        let first = ip.to_canonical();
        let prefix = bits_of(first);
        Self { first, prefix }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let parse = |text: &str| text.parse::<IpAddr>().map_err(|_| NetworkError::Address);
        match text.split_once('/') {
            None => parse(text).map(Self::from),
            Some((first, prefix)) => {
                let is_plain = prefix.bytes().all(|byte| byte.is_ascii_digit());
                let prefix = prefix.parse().ok().filter(|_| is_plain);
                Self::new(parse(first)?, prefix.ok_or(NetworkError::Prefix)?)
            }
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix)
    }
}

/// Why a text or a pair is no [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkError {
    /// There is no IP address.
    Address,
    /// The prefix length is no number, or longer than the address.
    Prefix,
    /// The address has bits behind the prefix.
    Bits,
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "is not an address or a network such as 10.0.0.0/8",
            Self::Prefix => "needs a prefix length from 0 to 32, or 128 for version 6",
            Self::Bits => "has bits behind its prefix: give the first address of the network",
        })
    }
}

impl StdError for NetworkError {}

const fn bits_of(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn number_of(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => Ipv6Addr::to_bits(ip),
    }
}

/// Bits in front of an IPv4 address that is mapped into IPv6 (RFC 4291, section 2.5.5.2).
const MAPPED: u8 = 96;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_holds_what_has_its_prefix() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.0.0.0"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.2"),
            ("192.0.2.4/31", "192.0.2.5", "192.0.2.6"),
            ("0.0.0.0/0", "255.255.255.255", "::1"),
            ("::/0", "ffff::", "127.0.0.1"),
            ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
            ("::1", "::1", "::2"),
            ("::1/128", "::1", "0.0.0.1"),
        ] {
            let parsed: Network = network.parse().expect(network);
            let contains = |ip: &str| parsed.contains(ip.parse().expect(ip));
            assert_eq!(
                (contains(inside), contains(outside)),
                (true, false),
                "{network}"
            );
        }
    }

    #[test]
    fn what_is_no_network_is_refused_for_its_reason() {
        for (text, error) in [
            ("", NetworkError::Address),
            ("proxy", NetworkError::Address),
            ("10.0.0", NetworkError::Address),
            ("10.0.0.0:80", NetworkError::Address),
            ("/8", NetworkError::Address),
            ("10.0.0.0/", NetworkError::Prefix),
            ("10.0.0.0/+8", NetworkError::Prefix),
            ("10.0.0.0/33", NetworkError::Prefix),
            ("::/129", NetworkError::Prefix),
            ("::/256", NetworkError::Prefix),
            ("10.0.0.1/8", NetworkError::Bits),
            ("0.0.0.1/0", NetworkError::Bits),
            ("2001:db8::1/32", NetworkError::Bits),
        ] {
            assert_eq!(text.parse::<Network>(), Err(error), "{text}");
        }
    }
}
