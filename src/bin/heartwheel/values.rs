//! The values that flags accept, and how values are displayed.

use std::fmt::Write;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use heartwheel::config::{Network, NetworkError, WebConfig};
use heartwheel::proto::authority::Authority;
use heartwheel::proto::http::Visitors;
use heartwheel::reactor::{Group, Keepalive};
use log::LevelFilter;

/// A value that can be switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Switch<T>(pub(crate) Option<T>);

/// Parses a time that can be `off`.
pub(crate) fn time_or_off(typed: &str) -> Result<Switch<Duration>, String> {
    if typed == "off" {
        return Ok(Switch(None));
    }
    time(typed).map(|time| Switch(Some(time)))
}

/// Parses a time with its unit.
pub(crate) fn time(typed: &str) -> Result<Duration, String> {
    if typed == "off" {
        return Err("cannot be switched off; give a time such as 5s".into());
    }
    if !typed.is_empty()
        && typed
            .bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        return Err(format!("needs a unit, such as {typed}s or {typed}ms"));
    }
    humantime::parse_duration(typed)
        .map_err(|_| "is not a time such as 250ms, 30s, 1m30s".to_owned())
}

/// Parses the kernel's own probes, `IDLE[,INTERVAL[,PROBES]]`, which can be `off`.
pub(crate) fn keepalive_or_off(typed: &str) -> Result<Switch<Keepalive>, String> {
    if typed == "off" {
        return Ok(Switch(None));
    }
    let mut parts = typed.split(',');
    let mut keepalive = Keepalive::after(time(parts.next().unwrap_or_default())?);
    if let Some(interval) = parts.next() {
        keepalive.interval = time(interval)?;
    }
    if let Some(probes) = parts.next() {
        keepalive.probes = probes
            .parse()
            .map_err(|_| "needs a number of probes, such as 30s,5s,3")?;
    }
    match parts.next() {
        None => Ok(Switch(Some(keepalive))),
        Some(_) => Err("is not of the form IDLE,INTERVAL,PROBES, such as 30s,5s,3".into()),
    }
}

/// Parses an address, or the network that a proxy may be in.
pub(crate) fn network(typed: &str) -> Result<Network, String> {
    typed
        .parse()
        .map_err(|error: NetworkError| error.to_string())
}

/// Parses a number of bytes.
pub(crate) fn size(typed: &str) -> Result<usize, String> {
    let bytes = ByteSize::from_str(typed)
        .map_err(|_| "is not a size such as 65536, 64KiB, 16MiB".to_owned())?;
    usize::try_from(bytes.as_u64()).map_err(|_| "is more than this machine can address".into())
}

/// Parses a number of bytes that can be `off`.
pub(crate) fn size_or_off(typed: &str) -> Result<Switch<usize>, String> {
    match typed {
        "off" => Ok(Switch(None)),
        _ => size(typed).map(|size| Switch(Some(size))),
    }
}

/// Parses a rate in bytes a second; `off` is zero.
pub(crate) fn byte_rate(typed: &str) -> Result<u32, String> {
    if typed == "off" {
        return Ok(0);
    }
    u32::try_from(size(typed)?).map_err(|_| "must be less than 4GiB a second".into())
}

/// Parses a rate in bytes a second that is not zero, or `off`.
pub(crate) fn byte_rate_or_off(typed: &str) -> Result<Switch<u32>, String> {
    match byte_rate(typed)? {
        0 if typed == "off" => Ok(Switch(None)),
        0 => Err("must not be zero; off switches it off".into()),
        rate => Ok(Switch(Some(rate))),
    }
}

/// Parses a count that can be `off`.
pub(crate) fn count_or_off(typed: &str) -> Result<Switch<u32>, String> {
    if typed == "off" {
        return Ok(Switch(None));
    }
    match typed.parse() {
        Ok(0) => Err("must not be zero; off switches it off".into()),
        Ok(count) => Ok(Switch(Some(count))),
        Err(_) => Err("is not a number such as 100, nor off".into()),
    }
}

/// Parses a count of one or more.
pub(crate) fn count(typed: &str) -> Result<usize, String> {
    match typed.replace('_', "").parse() {
        Ok(0) => Err("must not be zero".into()),
        Ok(count) => Ok(count),
        Err(_) => Err("is not a number such as 100000".into()),
    }
}

/// Parses how many attempts there are to be.
pub(crate) fn attempts(typed: &str) -> Result<u32, String> {
    u32::try_from(count(typed)?).map_err(|_| "is too large; leave it out for no limit".into())
}

/// Parses how many loops there are to be.
pub(crate) fn shards(typed: &str) -> Result<usize, String> {
    match count(typed)? {
        shards if shards > Group::MOST => Err(format!("must be at most {}", Group::MOST)),
        shards => Ok(shards),
    }
}

/// Parses an address to listen on. A link-local one of version 6 may name its interface; a port alone
/// stands for all addresses of version 4.
pub(crate) fn address(typed: &str) -> Result<SocketAddr, String> {
    if let Some((ip, interface, port)) = scoped(typed) {
        // Nothing is looked up but the number of the interface.
        let found = (format!("{ip}%{interface}"), port).to_socket_addrs();
        return found
            .ok()
            .and_then(|mut addrs| addrs.next())
            .ok_or_else(|| format!("names an interface {interface:?} that is not there"));
    }
    let numeric = match typed.split_once(':') {
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        Some(("", port)) => format!("0.0.0.0:{port}"),
        _ => typed.to_owned(),
    };
    numeric.parse().map_err(|_| {
        "is not an address with a port, such as 127.0.0.1:9001, localhost:9001, [::]:9001, or \
         :9001 for all addresses of version 4"
            .into()
    })
}

/// Parses the name of a subprotocol: a token (RFC 6455, section 4.1, item 10).
pub(crate) fn subprotocol(typed: &str) -> Result<String, String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match !typed.is_empty() && typed.bytes().all(is_token) {
        true => Ok(typed.to_owned()),
        false => Err("is not a name such as mqtt or graphql-transport-ws".into()),
    }
}

/// Parses the path of a URL.
pub(crate) fn path(typed: &str) -> Result<String, String> {
    let is_fine = typed.starts_with('/') && !typed.contains(['?', '#', ' ']);
    match is_fine && typed.is_ascii() {
        true => Ok(typed.to_owned()),
        false => Err("is not a path such as /live".into()),
    }
}

/// Means every origin, or every host.
pub(crate) const ANY: &str = "any";

/// Parses the origin of pages, or `any`.
pub(crate) fn origin(typed: &str) -> Result<String, String> {
    let config = WebConfig {
        origins: vec![typed.to_owned()],
        ..WebConfig::default()
    };
    sensible(typed, &config)
}

/// Parses the name of a host, or `any`.
pub(crate) fn host(typed: &str) -> Result<String, String> {
    let config = WebConfig {
        hosts: vec![typed.to_owned()],
        ..WebConfig::default()
    };
    sensible(typed, &config)
}

/// Lets the library check a value, unless it is `any`.
fn sensible(typed: &str, config: &WebConfig) -> Result<String, String> {
    match Visitors::try_from(config) {
        Err(error) if typed != ANY => Err(format!("{}, or any", error.reason())),
        Ok(_) | Err(_) => Ok(typed.to_owned()),
    }
}

/// Takes `[ADDRESS%INTERFACE]:PORT` apart (RFC 4007, section 11).
fn scoped(typed: &str) -> Option<(&str, &str, u16)> {
    let address = Authority::parse_local(typed)?;
    Some((address.name(), address.zone()?, address.port()?))
}

/// Parses the least important level of log records to show.
pub(crate) fn log_level(typed: &str) -> Result<LevelFilter, String> {
    typed
        .parse()
        .map_err(|_| "is none of off, error, warn, info, debug, trace".into())
}

/// Parses a header line.
pub(crate) fn header(typed: &str) -> Result<(String, String), String> {
    match typed.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("is not a header line such as 'Authorization: Bearer token'".into()),
    }
}

/// Shows a time shortly: `0.31ms`, `2.503s`, `2m30s`.
pub(crate) fn show_time(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        return format!("{}ms", decimal(time.as_micros(), 1_000, 2));
    }
    if time < Duration::from_secs(120) {
        return format!("{}s", decimal(time.as_micros(), 1_000_000, 3));
    }
    type_time(Duration::from_secs(time.as_secs()))
}

/// Writes a time exactly, as it can be typed: `1m30s`, `12s500ms`.
pub(crate) fn type_time(time: Duration) -> String {
    let spaced = humantime::format_duration(time).to_string();
    spaced.replace(' ', "")
}

/// Returns a time in whole microseconds, for JSON.
pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Returns the name that is most like what was typed, and how much it is, of one.
pub(crate) fn closest<'a>(
    typed: &str,
    names: impl Iterator<Item = &'a str>,
) -> Option<(&'a str, f64)> {
    let alike = names.map(|name| (name, strsim::jaro_winkler(typed, name)));
    alike.max_by(|(_, a), (_, b)| a.total_cmp(b))
}

/// Writes a fraction with at most `places` decimals, cut, without zeros at its end.
fn decimal(number: u128, unit: u128, places: usize) -> String {
    let mut text = (number / unit).to_string();
    let mut rest = number % unit;
    let mut scale = unit;
    let mut fraction = String::new();
    for _ in 0..places {
        scale /= 10;
        if scale == 0 {
            break;
        }
        fraction.push(char::from(b'0' + u8::try_from(rest / scale).unwrap_or(9)));
        rest %= scale;
    }
    let fraction = fraction.trim_end_matches('0');
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

/// Makes text from outside safe for a terminal and for programs that split lines.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        escape_into(letter, &mut safe);
    }
    safe
}

/// Adds a letter of unknown origin, harmless.
pub(crate) fn escape_into(letter: char, out: &mut String) {
    if (' '..='~').contains(&letter) {
        out.push(letter);
    } else {
        out.extend(letter.escape_debug());
    }
}

/// Adds a letter as it stands in a JSON string (RFC 8259, section 7), in ASCII.
pub(crate) fn escape_json(letter: char, out: &mut String) {
    let short = match letter {
        '"' | '\\' => letter,
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{c}' => 'f',
        '\r' => 'r',
        ' '..='~' => return out.push(letter),
        _ => {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                // Writing to a string does not fail.
                write!(out, "\\u{unit:04x}").ok();
            }
            return;
        }
    };
    out.extend(['\\', short]);
}

/// Shows bytes as hexadecimal digits, the first few of them.
pub(crate) fn hex_preview(bytes: &[u8], most: usize) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(most) {
        // Writing to a string does not fail.
        write!(text, "{byte:02x}").ok();
    }
    if bytes.len() > most {
        text.push_str("..");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_needs_a_unit_and_off_needs_permission() {
        assert_eq!(time("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(time("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(time("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(time_or_off("off"), Ok(Switch(None)));
        assert!(time("off").is_err_and(|reason| reason.contains("cannot be switched off")));
        assert!(time("5").is_err_and(|reason| reason.contains("5s")));
        assert!(time("2.5").is_err_and(|reason| reason.contains("unit")));
        for nonsense in ["", "soon", "-5s", "5 parsecs", "99999999999999999999s"] {
            assert!(time_or_off(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn a_keepalive_is_up_to_three_values() {
        let secs = Duration::from_secs;
        let given = |idle, interval, probes| {
            Ok(Switch(Some(Keepalive {
                idle,
                interval,
                probes,
            })))
        };
        assert_eq!(keepalive_or_off("off"), Ok(Switch(None)));
        assert_eq!(keepalive_or_off("30s"), given(secs(30), secs(75), 9));
        assert_eq!(keepalive_or_off("30s,5s"), given(secs(30), secs(5), 9));
        assert_eq!(keepalive_or_off("1m,5s,3"), given(secs(60), secs(5), 3));
        for nonsense in ["", "30", "30s,", "30s,off", "30s,5s,x", "30s,5s,3,1"] {
            assert!(keepalive_or_off(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn a_size_takes_units_of_1024() {
        assert_eq!(size("65536"), Ok(65_536));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("16MiB"), Ok(16 * 1024 * 1024));
        for nonsense in ["", "big", "-1", "1XiB"] {
            assert!(size(nonsense).is_err(), "{nonsense}");
        }
        assert_eq!(size_or_off("off"), Ok(Switch(None)));
        assert_eq!(size_or_off("1MiB"), Ok(Switch(Some(1 << 20))));
        assert_eq!(byte_rate("off"), Ok(0));
        assert_eq!(byte_rate("1KiB"), Ok(1024));
        assert!(byte_rate("5GiB").is_err());
    }

    #[test]
    fn an_address_has_a_port() {
        assert!(address("127.0.0.1:0").is_ok());
        assert!(address("[::1]:9001").is_ok());
        assert_eq!(address("localhost:9001"), address("127.0.0.1:9001"));
        assert_eq!(address(":9001"), address("0.0.0.0:9001"));
        for nonsense in [
            "",
            ":",
            "::1",
            "::9001",
            "localhost:",
            "9001",
            "127.0.0.1",
            "example.com:80",
            "1.2.3.4:70000",
        ] {
            assert!(address(nonsense).is_err(), "{nonsense}");
        }
    }

    #[test]
    fn an_origin_has_a_scheme_and_a_host_is_a_name() {
        for fine in [
            "https://example.com",
            "http://localhost:8080",
            "null",
            "any",
        ] {
            assert_eq!(origin(fine).as_deref(), Ok(fine));
        }
        for fine in ["example.com", "example.com:8080", "[::1]", "any"] {
            assert_eq!(host(fine).as_deref(), Ok(fine));
        }
        assert!(origin("example.com").is_err_and(|reason| reason.contains("https://example.com")));
        assert!(host("https://a").is_err_and(|reason| reason.contains("example.com")));
    }

    #[test]
    fn an_address_may_name_its_interface() {
        let scope = |typed| match address(typed) {
            Ok(SocketAddr::V6(addr)) => Some((addr.to_string(), addr.scope_id())),
            Ok(SocketAddr::V4(_)) | Err(_) => None,
        };
        assert_eq!(scope("[fe80::1%3]:7"), Some(("[fe80::1%3]:7".into(), 3)));
        let reason = address("[fe80::1%nowhere0]:7").expect_err("no such interface");
        assert!(reason.contains("nowhere0"), "{reason}");
        for nonsense in ["[fe80::1%]:7", "[a%lo]:7", "[fe80::1%lo]", "[fe80::1%lo]:x"] {
            assert_eq!(scope(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn times_are_shown_shortly() {
        for (micros, shown) in [
            (0, "0ms"),
            (7, "0ms"),
            (312, "0.31ms"),
            (12_040, "12.04ms"),
            (250_000, "250ms"),
            (2_503_900, "2.503s"),
            (60_000_000, "60s"),
            (119_999_999, "119.999s"),
            (150_000_000, "2m30s"),
            (3_720_500_000, "1h2m"),
        ] {
            assert_eq!(show_time(Duration::from_micros(micros)), shown);
        }
    }

    #[test]
    fn control_characters_do_not_pass() {
        assert_eq!(escape("it's \"ok\" \\ ä"), "it's \"ok\" \\ ä");
        let evil = "a\u{1b}[2J\r\n\u{9b}31m\u{202e}\u{7f}";
        let safe = escape(evil);
        assert!(!safe.chars().any(char::is_control), "{safe:?}");
        assert!(!safe.contains('\u{202e}'), "{safe:?}");
    }

    #[test]
    fn a_preview_of_bytes_is_cut() {
        assert_eq!(hex_preview(&[0, 255], 4), "00ff");
        assert_eq!(hex_preview(&[1, 2, 3], 2), "0102..");
    }
}
