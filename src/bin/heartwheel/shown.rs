//! Values in force, as they would stand in a file: for `config`, for `check`, and for what a reload changes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use heartwheel::config::{
    AdmissionConfig, DeflateConfig, Excess, HeartbeatConfig, LimitsConfig, Overflow, PingWhen,
    Proof, ProxyConfig, WebConfig, WireKind,
};
use heartwheel::reactor::{Keepalive, SocketOptions};

use crate::admin::access::AdminFlags;
use crate::args::WholeFlags;
use crate::plan::Plan;
use crate::values::{ANY, type_time};

/// A value of TOML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Number(u64),
    Switch(bool),
    List(Vec<String>),
    /// Nothing is given, and nothing means something of its own.
    None,
}

/// A key and its value.
pub(crate) type Entry = (&'static str, Value);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => quote(f, text),
            Self::Number(number) => write!(f, "{number}"),
            Self::Switch(is_on) => write!(f, "{is_on}"),
            Self::None => f.write_str("none"),
            Self::List(list) => {
                f.write_str("[")?;
                for (place, text) in list.iter().enumerate() {
                    f.write_str(if place > 0 { ", " } else { "" })?;
                    quote(f, text)?;
                }
                f.write_str("]")
            }
        }
    }
}

impl Value {
    /// Shows it as it would be typed as a flag.
    pub(crate) fn bare(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::List(list) if list.is_empty() => "none".into(),
            Self::List(list) => list.join(","),
            value => value.to_string(),
        }
    }
}

/// Writes a basic string of TOML.
fn quote(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_str("\"")?;
    for letter in text.chars() {
        match letter {
            '"' | '\\' => write!(f, "\\{letter}")?,
            ' '..='~' => write!(f, "{letter}")?,
            _ => write!(f, "\\U{:08X}", u32::from(letter))?,
        }
    }
    f.write_str("\"")
}

/// Returns the key and the place of a listener.
pub(crate) fn place(plan: &Plan) -> Entry {
    let key = match plan.flag {
        "--ws" => "ws",
        "--tcp" => "tcp",
        "--tcp-binary" => "tcp_binary",
        "--tcp-raw" => "tcp_raw",
        "--wss" => "wss",
        "--tls-tcp" => "tls_tcp",
        "--tls-tcp-binary" => "tls_tcp_binary",
        _ => "tls_tcp_raw",
    };
    (key, Value::Text(plan.place.to_string()))
}

/// Lists what is for the whole program.
pub(crate) fn whole(flags: &WholeFlags) -> Vec<Entry> {
    vec![
        ("shards", number(flags.shards)),
        ("tick", time(flags.tick)),
        ("max_connections", number(flags.max_connections)),
        ("memory_limit", flags.memory_limit().map_or_else(off, size)),
        ("drain", time(flags.drain)),
        (
            "log_level",
            word(&flags.log_level.to_string().to_lowercase()),
        ),
        ("quiet", Value::Switch(flags.quiet)),
        ("json", Value::Switch(flags.json)),
    ]
    .into_iter()
    .chain(admin(&flags.admin))
    .collect()
}

fn admin(flags: &AdminFlags) -> Vec<Entry> {
    let (place, acts, looks) = flags.shown();
    let file = |path: &PathBuf| Value::Text(path.display().to_string());
    let place = place.map(|place| Value::Text(place.to_string()));
    vec![
        ("admin", place.unwrap_or(Value::None)),
        ("admin_token", acts.map_or(Value::None, file)),
        ("admin_read_token", looks.map_or(Value::None, file)),
    ]
}

/// Lists what a listener does.
pub(crate) fn listener(plan: &Plan) -> Vec<Entry> {
    let service = &plan.service;
    let mut entries = vec![
        ("mode", word(service.mode.label())),
        ("subprotocol", Value::List(service.subprotocols.clone())),
        ("path", Value::List(service.paths.clone())),
    ];
    entries.extend(certs(plan));
    entries.extend(heartbeat(&plan.heartbeat));
    entries.extend(limits(&plan.limits));
    entries.extend(admission(&plan.admission));
    entries.extend(proxy(&plan.proxy));
    let no_health = plan.wire == WireKind::WebSocket && !service.has_health;
    entries.push(("no_health", Value::Switch(no_health)));
    entries.extend(web(&plan.web));
    entries.extend(socket(&plan.socket));
    entries
}

fn certs(plan: &Plan) -> Vec<Entry> {
    let Some(certs) = &plan.certs else {
        return vec![
            ("cert", Value::List(Vec::new())),
            ("key", Value::List(Vec::new())),
            ("client_ca", Value::None),
        ];
    };
    let file = |path: &Path| path.display().to_string();
    let files = |paths: &[PathBuf]| Value::List(paths.iter().map(|path| file(path)).collect());
    let (cert, key, client_ca) = certs.files();
    vec![
        ("cert", files(cert)),
        ("key", files(key)),
        (
            "client_ca",
            client_ca.map_or(Value::None, |path| Value::Text(file(path))),
        ),
    ]
}

fn heartbeat(config: &HeartbeatConfig) -> Vec<Entry> {
    let proof = match config.proof {
        Proof::Bytes => "bytes",
        Proof::Message => "message",
        Proof::Pong => "pong",
    };
    let when = match config.ping_when {
        PingWhen::Always => "always",
        PingWhen::Idle => "idle",
    };
    vec![
        ("interval", time_or_off(config.interval)),
        ("timeout", time_or_off(config.timeout)),
        ("proof", word(proof)),
        ("ping_when", word(when)),
        ("ping_slack", time_or_off(config.slack())),
        ("write_timeout", time_or_off(config.write_timeout)),
        ("handshake_timeout", time(config.handshake_timeout)),
        ("close_timeout", time(config.close_timeout)),
        ("close_total", time(config.close_total)),
        ("app_idle", time_or_off(config.app_idle)),
        ("max_lifetime", time_or_off(config.max_lifetime)),
    ]
}

fn limits(config: &LimitsConfig) -> Vec<Entry> {
    let overflow = match config.overflow {
        Overflow::Drop => "drop",
        Overflow::Close => "close",
    };
    let excess = match config.excess {
        Excess::Pause => "pause",
        Excess::Close => "close",
    };
    let deflate = config.deflate.unwrap_or_default();
    vec![
        ("max_message", size(config.max_message)),
        ("send_queue", size(config.queue())),
        ("overflow", word(overflow)),
        ("pings_per_second", rate(config.pings_per_second)),
        ("pongs_per_second", rate(config.pongs_per_second)),
        ("messages_per_second", rate(config.messages_per_second)),
        ("bytes_per_second", byte_rate(config.bytes_per_second)),
        ("excess", word(excess)),
        (
            "slow_floor",
            byte_rate(Some(config.slow_floor).filter(|&rate| rate > 0)),
        ),
        ("slow_grace", time(config.slow_grace)),
        ("message_timeout", time_or_off(config.message_timeout)),
        ("max_fragment", size(config.max_fragment)),
        ("max_head", size(config.max_head)),
        ("max_headers", number(config.max_headers)),
        ("max_body", size(config.max_body)),
        ("max_requests", Value::Number(config.max_requests.into())),
        ("deflate", Value::Switch(config.deflate.is_some())),
    ]
    .into_iter()
    .chain(compression(config.deflate.is_some(), deflate))
    .collect()
}

/// Lists how messages are compressed. Without compression these keys would be refused.
fn compression(is_on: bool, config: DeflateConfig) -> Vec<Entry> {
    match is_on {
        true => vec![
            ("deflate_threshold", size(config.threshold)),
            ("deflate_level", Value::Number(config.level.into())),
            ("deflate_takeover", Value::Switch(config.takeover)),
        ],
        false => vec![
            ("deflate_threshold", Value::None),
            ("deflate_level", Value::None),
            ("deflate_takeover", Value::Switch(false)),
        ],
    }
}

fn admission(config: &AdmissionConfig) -> Vec<Entry> {
    vec![
        ("half_open_per_address", rate(config.half_open_per_address)),
        ("share_per_address", rate(config.share_per_address)),
        ("open_per_address", rate(config.open_per_address)),
        (
            "handshakes_per_address",
            rate(config.handshakes_per_address),
        ),
        ("handshakes_per_second", rate(config.handshakes_per_second)),
        ("limit_loopback", Value::Switch(config.limit_loopback)),
    ]
}

fn proxy(config: &ProxyConfig) -> Vec<Entry> {
    let trusted = config.trusted.iter().map(ToString::to_string);
    vec![
        ("proxy_protocol", Value::Switch(config.protocol)),
        ("trust_proxy", Value::List(trusted.collect())),
    ]
}

fn web(config: &WebConfig) -> Vec<Entry> {
    let any = config.any_origin.then(|| ANY.to_owned());
    let origins = any.into_iter().chain(config.origins.iter().cloned());
    vec![
        ("origin", Value::List(origins.collect())),
        ("allow_host", Value::List(config.hosts.clone())),
    ]
}

fn socket(options: &SocketOptions) -> Vec<Entry> {
    let keepalive = |it: Keepalive| {
        let (idle, interval) = (type_time(it.idle), type_time(it.interval));
        word(&format!("{idle},{interval},{}", it.probes))
    };
    vec![
        ("tcp_user_timeout", time_or_off(options.user_timeout)),
        (
            "tcp_keepalive",
            options.keepalive.map_or_else(off, keepalive),
        ),
    ]
}

fn word(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn off() -> Value {
    word("off")
}

fn number(number: usize) -> Value {
    Value::Number(number as u64)
}

fn rate(rate: Option<u32>) -> Value {
    rate.map_or_else(off, |rate| Value::Number(rate.into()))
}

fn byte_rate(rate: Option<u32>) -> Value {
    rate.map_or_else(off, |rate| size(rate as usize))
}

fn time_or_off(span: Option<Duration>) -> Value {
    span.filter(|span| !span.is_zero()).map_or_else(off, time)
}

/// Shows a time exactly, as it can be typed.
fn time(span: Duration) -> Value {
    Value::Text(type_time(span))
}

/// Shows a size exactly, with the largest unit that it is a multiple of.
fn size(bytes: usize) -> Value {
    for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
        if bytes > 0 && bytes.is_multiple_of(unit) {
            return Value::Text(format!("{}{name}", bytes / unit));
        }
    }
    number(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::keys::{Keys, Scope};

    #[test]
    fn each_key_is_shown_once() {
        let keys = Keys::new();
        let setup = crate::plan::tests::setup("", &[]).expect("the defaults");
        let mut shown = whole(&setup.whole);
        shown.extend(listener(&setup.plans[0]));
        let mut shown: Vec<_> = shown.iter().map(|(key, _)| *key).collect();
        let known = keys.args().map(|arg| arg.get_id().as_str());
        let mut known: Vec<_> = known
            .filter(|key| keys.scope(key) != Scope::Place)
            .collect();
        shown.sort_unstable();
        known.sort_unstable();
        assert_eq!(shown, known);
    }

    #[test]
    fn values_can_be_typed() {
        for (value, typed) in [
            (time(Duration::from_millis(12_500)), "\"12s500ms\""),
            (time(Duration::from_secs(90)), "\"1m30s\""),
            (size(1 << 20), "\"1MiB\""),
            (size(1_000), "1000"),
            (size(0), "0"),
            (
                Value::Text("a\"b\\\u{1b}".into()),
                "\"a\\\"b\\\\\\U0000001B\"",
            ),
            (Value::List(vec!["a".into(), "b".into()]), "[\"a\", \"b\"]"),
        ] {
            assert_eq!(value.to_string(), typed);
        }
    }
}
