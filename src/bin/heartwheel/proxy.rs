//! Which proxy `connect` goes through: the flag, or what the environment says, as curl reads it.

use std::ffi::OsString;
use std::net::IpAddr;

use heartwheel::config::WireKind;
use heartwheel::proto::tunnel::Proxy;

use crate::Failure;

/// What was typed for `--proxy`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProxyFlag {
    Off,
    Through(Proxy),
}

/// Parses the URL of a proxy, or off.
pub(crate) fn proxy_or_off(typed: &str) -> Result<ProxyFlag, String> {
    match typed {
        "off" => Ok(ProxyFlag::Off),
        url => match Proxy::from_url(url) {
            Ok(proxy) => Ok(ProxyFlag::Through(proxy)),
            Err(error) => Err(format!("{}, or off", error.reason())),
        },
    }
}

/// Returns the variables of the environment that may name a proxy, the first that is set counts.
pub(crate) fn variables(wire: WireKind, is_secure: bool) -> &'static [&'static str] {
    match (wire, is_secure) {
        (WireKind::WebSocket, true) => &[
            "wss_proxy",
            "WSS_PROXY",
            "https_proxy",
            "HTTPS_PROXY",
            "all_proxy",
            "ALL_PROXY",
        ],
        // Not HTTP_PROXY: in a CGI program it is a header of the request (CVE-2016-5385).
        (WireKind::WebSocket, false) => &[
            "ws_proxy",
            "WS_PROXY",
            "http_proxy",
            "all_proxy",
            "ALL_PROXY",
        ],
        _ => &["all_proxy", "ALL_PROXY"],
    }
}

/// Returns the proxy to go through.
pub(crate) fn choose(
    flag: Option<&ProxyFlag>,
    variables: &[&str],
    host: &str,
    port: u16,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<Proxy>, Failure> {
    match flag {
        Some(ProxyFlag::Off) => return Ok(None),
        Some(ProxyFlag::Through(proxy)) => return Ok(Some(proxy.clone())),
        None => {}
    }
    if is_loopback(host) {
        return Ok(None);
    }
    // The value may contain a password.
    let refuse = |name: &str, reason: &str| {
        Failure::usage(format!(
            "the environment variable {name} {reason}; --proxy off goes without it"
        ))
    };
    let set = |name: &str| match variable(name).map(OsString::into_string) {
        Some(Ok(value)) => Ok(Some(value).filter(|value| !value.is_empty())),
        Some(Err(_)) => Err(refuse(name, "is not UTF-8")),
        None => Ok(None),
    };
    let mut chosen = None;
    for name in variables {
        if let Some(url) = set(name)? {
            chosen = Some((name, url));
            break;
        }
    }
    let Some((name, url)) = chosen else {
        return Ok(None);
    };
    let exempt = match set("no_proxy")? {
        None => set("NO_PROXY")?,
        list => list,
    };
    if exempt.is_some_and(|list| is_exempt(&list, host, port)) {
        return Ok(None);
    }
    // A proxy may stand there without a scheme.
    let url = match url.contains("://") {
        true => url,
        false => format!("http://{url}"),
    };
    match Proxy::from_url(&url) {
        Ok(proxy) => Ok(Some(proxy)),
        Err(error) => Err(refuse(name, error.reason())),
    }
}

/// Says whether a list such as `localhost,.example.com,10.0.0.1:9001` contains the host. A name contains
/// its subdomains.
fn is_exempt(list: &str, host: &str, port: u16) -> bool {
    let entries = list.split([',', ' ']).filter(|entry| !entry.is_empty());
    entries.into_iter().any(|entry| {
        let (name, with_port) = match entry.rsplit_once(':') {
            Some((name, digits)) if !name.contains(':') || name.ends_with(']') => {
                (name, digits.parse().ok())
            }
            _ => (entry, None),
        };
        with_port.is_none_or(|other: u16| other == port) && is_within(host, name)
    })
}

fn is_within(host: &str, name: &str) -> bool {
    if name == "*" {
        return true;
    }
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let name = name.trim_start_matches('.').trim_end_matches('.');
    let host = host.trim_end_matches('.');
    if let (Ok(host), Ok(name)) = (host.parse::<IpAddr>(), name.parse::<IpAddr>()) {
        return host == name;
    }
    let (host, name) = (host.to_ascii_lowercase(), name.to_ascii_lowercase());
    let front = host.strip_suffix(&name);
    !name.is_empty() && front.is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

/// Says whether a host is this machine, which no proxy of the environment leads to.
fn is_loopback(host: &str) -> bool {
    let name = host.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(wire: WireKind, host: &str, set: &[(&str, &str)]) -> Option<String> {
        let variable = |name: &str| {
            let found = set.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let proxy =
            choose(None, variables(wire, false), host, 9001, variable).expect("sound values");
        proxy.map(|proxy| format!("{}:{}", proxy.host(), proxy.port()))
    }

    #[test]
    fn the_variables_are_those_of_curl_in_its_order() {
        let ws = WireKind::WebSocket;
        let all = [
            ("ws_proxy", "http://a"),
            ("http_proxy", "b:3128"),
            ("all_proxy", "socks5h://c"),
        ];
        assert_eq!(chosen(ws, "h", &all).as_deref(), Some("a:80"));
        assert_eq!(chosen(ws, "h", &all[1..]).as_deref(), Some("b:3128"));
        assert_eq!(chosen(ws, "h", &all[2..]).as_deref(), Some("c:1080"));
        assert_eq!(chosen(WireKind::Line, "h", &all).as_deref(), Some("c:1080"));
        assert_eq!(chosen(ws, "h", &[("HTTP_PROXY", "http://a")]), None);
        let empty = [("ws_proxy", ""), ("ALL_PROXY", "http://d")];
        assert_eq!(chosen(ws, "h", &empty).as_deref(), Some("d:80"));
        for host in ["localhost", "a.LocalHost.", "127.0.0.2", "::1"] {
            assert_eq!(chosen(ws, host, &all), None, "{host}");
        }
        let broken = |_: &str| Some("http://me:secret@a b".into());
        let error = choose(None, variables(ws, false), "h", 1, broken).expect_err("no host");
        assert_eq!(error.code, 2);
        assert!(error.message.contains("ws_proxy"), "{error}");
        assert!(!error.message.contains("secret"), "{error}");
    }

    #[test]
    fn wss_has_variables_of_its_own() {
        let set = |name: &str| Some(OsString::from(format!("http://{name}.example")));
        let host = |skipped: usize| {
            let names = &variables(WireKind::WebSocket, true)[skipped..];
            let proxy = choose(None, names, "h", 1, |name| match name {
                "no_proxy" | "NO_PROXY" => None,
                name => set(name),
            });
            proxy.expect("sound").map(|proxy| proxy.host().to_owned())
        };
        assert_eq!(host(0).as_deref(), Some("wss_proxy.example"));
        assert_eq!(host(2).as_deref(), Some("https_proxy.example"));
        assert_eq!(host(4).as_deref(), Some("all_proxy.example"));
    }

    #[test]
    fn a_variable_that_is_not_utf_8_is_refused_and_not_gone_past() {
        use std::os::unix::ffi::OsStringExt;

        for garbled in ["ws_proxy", "no_proxy"] {
            let set = |name: &str| match name {
                name if name == garbled => Some(OsString::from_vec(b"secret\xff".to_vec())),
                "all_proxy" => Some("http://a".into()),
                _ => None,
            };
            let names = variables(WireKind::WebSocket, false);
            let error = choose(None, names, "h", 1, set).expect_err("garbled");
            assert_eq!(error.code, 2);
            assert!(error.message.contains(garbled), "{error}");
            assert!(!error.message.contains("secret"), "{error}");
            let off = choose(Some(&ProxyFlag::Off), names, "h", 1, set);
            assert_eq!(off.expect("nobody asks"), None);
        }
    }

    #[test]
    fn the_flag_goes_before_the_environment_and_loopback() {
        let flag = proxy_or_off("socks5h://p").expect("a sound url");
        let set = |_: &str| Some("http://other".into());
        let names = variables(WireKind::Line, false);
        for host in ["h", "127.0.0.1"] {
            let proxy = choose(Some(&flag), names, host, 1, set).expect("sound");
            assert_eq!(proxy.map(|proxy| proxy.port()), Some(1080));
        }
        let off = choose(Some(&ProxyFlag::Off), names, "h", 1, set);
        assert_eq!(off.expect("sound"), None);
        assert!(proxy_or_off("proxy:3128").is_err_and(|error| error.contains("off")));
    }

    #[test]
    fn some_hosts_are_exempt() {
        for (list, host, expected) in [
            ("*", "a", true),
            ("example.com", "example.com", true),
            ("example.com", "a.Example.com.", true),
            (".example.com", "a.example.com", true),
            (".example.com", "example.com", true),
            ("example.com", "notexample.com", false),
            ("b, example.com", "example.com", true),
            ("example.com:9001", "example.com", true),
            ("example.com:80", "example.com", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.10", false),
            ("[fe80::1]:9001", "fe80::1", true),
            ("fe80::1", "fe80:0::1", true),
            ("", "a", false),
            (".", "a", false),
        ] {
            assert_eq!(is_exempt(list, host, 9001), expected, "{list} {host}");
        }
    }
}
