//! What is unwise about a configuration, and what to change.

use std::thread;
use std::time::Duration;

use heartwheel::config::{PingWhen, WireKind};
use serde_json::{Value, json};

use crate::args::{Mode, WholeFlags};
use crate::certs::CertStore;
use crate::estimate::{Machine, grouped, in_units, is_open, is_public, load, spare_files};
use crate::plan::{Plan, Setup};
use crate::values::{show_time, type_time};

/// Something that works, and that an operator may regret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The key that it is about.
    pub(crate) key: &'static str,
    pub(crate) said: String,
    /// What to change.
    pub(crate) advice: String,
}

impl Finding {
    fn new(key: &'static str, said: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            key,
            said: said.into(),
            advice: advice.into(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "key": self.key, "said": self.said, "advice": self.advice })
    }
}

/// Looks one listener over.
pub(crate) fn of_listener(plan: &Plan, certs: &CertStore, whole: &WholeFlags) -> Vec<Finding> {
    let mut found = Vec::new();
    heartbeat(plan, whole, &mut found);
    patience(plan, &mut found);
    if is_open(plan) {
        strangers(plan, &mut found);
    }
    trust(plan, &mut found);
    if let Some(flags) = &plan.certs {
        for warning in certs.warnings(flags) {
            let (said, advice) = warning.rsplit_once("; ").unwrap_or((&warning, ""));
            found.push(Finding::new("cert", said, advice));
        }
    }
    if plan.service.mode == Mode::Broadcast && plan.limits.messages_per_second.is_none() {
        found.push(Finding::new(
            "messages_per_second",
            "each message goes to all connections, and a sender may send any number",
            "messages_per_second = 10",
        ));
    }
    found
}

/// Looks at when silence is found out.
fn heartbeat(plan: &Plan, whole: &WholeFlags, found: &mut Vec<Finding>) {
    let heartbeat = &plan.heartbeat;
    let (interval, timeout) = (heartbeat.interval, heartbeat.timeout);
    if let (Some(interval), Some(timeout)) = (interval, timeout)
        && timeout < interval * 2
    {
        found.push(Finding::new(
            "timeout",
            format!(
                "timeout {} is less than twice the interval {}: one lost answer ends a connection",
                show_time(timeout),
                show_time(interval)
            ),
            format!("timeout = \"{}\"", type_time(interval * 5 / 2)),
        ));
    }
    if timeout.is_none() {
        found.push(Finding::new(
            "timeout",
            "a peer that dies silently keeps its place until the kernel gives up, after 15 minutes or never",
            "timeout = \"60s\", or at least tcp_user_timeout",
        ));
    }
    if interval.is_none() && timeout.is_some() && plan.wire != WireKind::Raw {
        found.push(Finding::new(
            "interval",
            "nobody is pinged: a live peer that has nothing to say is closed as silent",
            "leave interval out, or be sure that every client sends by itself",
        ));
    }
    let Some(interval) = interval else { return };
    // Without a ping at one interval, the next one is an interval later.
    let quiet = match heartbeat.ping_when {
        PingWhen::Always => interval,
        PingWhen::Idle => interval * 2,
    };
    if quiet >= SHORT_MEMORY {
        found.push(Finding::new(
            "interval",
            format!(
                "a connection may be quiet for {}, and many routers, NATs and balancers forget one after 30 to 120s",
                show_time(quiet)
            ),
            "interval = \"30s\"",
        ));
    }
    if whole.tick > interval / 10 {
        found.push(Finding::new(
            "tick",
            format!(
                "tick {} is coarser than a tenth of the interval {}: pings bunch up",
                show_time(whole.tick),
                show_time(interval)
            ),
            format!(
                "tick = \"{}\"",
                type_time((interval / 20).max(Duration::from_millis(1)))
            ),
        ));
    }
    if let (Some(kernel), Some(timeout)) = (plan.socket.user_timeout, timeout)
        && kernel < timeout
    {
        found.push(Finding::new(
            "tcp_user_timeout",
            format!(
                "the kernel gives up after {}, before the timeout {} is over",
                show_time(kernel),
                show_time(timeout)
            ),
            "leave tcp_user_timeout out, or make it longer than timeout",
        ));
    }
}

/// Looks at who may take their time.
fn patience(plan: &Plan, found: &mut Vec<Finding>) {
    if plan.heartbeat.write_timeout.is_none() {
        found.push(Finding::new(
            "write_timeout",
            "a peer that reads nothing keeps what is queued for it for ever",
            "write_timeout = \"10s\"",
        ));
    }
    if plan.heartbeat.handshake_timeout > LONG_HANDSHAKE {
        found.push(Finding::new(
            "handshake_timeout",
            format!(
                "whoever connects and says nothing holds a place for {}",
                show_time(plan.heartbeat.handshake_timeout)
            ),
            "handshake_timeout = \"5s\"",
        ));
    }
}

/// Looks at a listener that anybody may reach.
fn strangers(plan: &Plan, found: &mut Vec<Finding>) {
    let (limits, admission) = (&plan.limits, &plan.admission);
    for (key, is_off, said, advice) in [
        (
            "half_open_per_address",
            admission.half_open_per_address.is_none(),
            "one address may hold any number of connections that never open",
            "half_open_per_address = 256",
        ),
        (
            "share_per_address",
            admission.share_per_address.is_none() && admission.open_per_address.is_none(),
            "one address may take all places",
            "share_per_address = 94",
        ),
        (
            "pings_per_second",
            limits.pings_per_second.is_none(),
            "a peer may send any number of pings, each of which is answered",
            "pings_per_second = 100",
        ),
        (
            "slow_floor",
            limits.slow_floor == 0 && limits.message_timeout.is_none(),
            "a peer may send a message as slowly as it likes, and memory is held for it",
            "slow_floor = \"1KiB\"",
        ),
        (
            "wss",
            plan.certs.is_none() && plan.proxy.trusted.is_empty() && !plan.proxy.protocol,
            "anybody may reach it, and whoever is in between reads and changes what is said",
            "serve TLS (wss, tls_tcp), or listen on 127.0.0.1 behind a proxy that does",
        ),
    ] {
        if is_off {
            found.push(Finding::new(key, said, advice));
        }
    }
}

/// Looks at who is believed.
fn trust(plan: &Plan, found: &mut Vec<Finding>) {
    if plan.proxy.protocol && plan.proxy.trusted.is_empty() && is_public(plan) {
        found.push(Finding::new(
            "proxy_protocol",
            "whoever connects is believed about the address that it names",
            "trust_proxy = [\"10.0.0.0/8\"], or wherever your proxies are",
        ));
    }
    if plan.wire == WireKind::WebSocket && plan.web.any_origin {
        found.push(Finding::new(
            "origin",
            "pages of any site may connect, as their visitors",
            "origin = [\"https://your.site\"]",
        ));
    }
}

/// Looks the whole program over.
pub(crate) fn of_whole(setup: &Setup, machine: &Machine, connections: usize) -> Vec<Finding> {
    let mut found = Vec::new();
    let whole = &setup.whole;
    if let Some(files) = machine.open_files {
        let room = files.saturating_sub(spare_files(whole, setup.plans.len()));
        let is_asked_for = setup.settings.get("max_connections").is_some();
        if (is_asked_for && whole.max_connections as u64 > room) || room < connections as u64 {
            found.push(Finding::new(
                "max_connections",
                format!(
                    "this machine allows {} open files a process, so no more than {} connections",
                    grouped(files),
                    grouped(room)
                ),
                "raise it: ulimit -Hn, or LimitNOFILE for a service",
            ));
        }
    }
    match (whole.memory_limit(), machine.memory) {
        (None, _) => found.push(Finding::new(
            "memory_limit",
            "messages in transit may take all memory, and then the system ends the program",
            "memory_limit = \"1GiB\", or leave it out: half of what there is",
        )),
        (Some(limit), Some(memory)) => {
            let idle = setup
                .plans
                .iter()
                .map(|plan| load(plan, connections).memory);
            let most = idle.max().unwrap_or(0).saturating_add(limit as u64);
            if most > memory {
                found.push(Finding::new(
                    "memory_limit",
                    format!(
                        "{} idle connections and messages up to the limit take up to {}, and there are {}",
                        grouped(connections as u64),
                        in_units(most as f64),
                        in_units(memory as f64)
                    ),
                    "lower memory_limit or max_connections",
                ));
            }
        }
        (Some(_), None) => {}
    }
    if let Ok(cores) = thread::available_parallelism()
        && whole.shards > cores.get()
    {
        found.push(Finding::new(
            "shards",
            format!("{} loops share {cores} cores", whole.shards),
            format!("shards = {cores}"),
        ));
    }
    found
}

/// Some that forward packets forget a connection after that.
const SHORT_MEMORY: Duration = Duration::from_secs(60);

/// Longer opening handshakes are not worth waiting for.
const LONG_HANDSHAKE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::setup;

    const MACHINE: Machine = Machine {
        open_files: Some(1_000_000),
        memory: Some(1 << 50),
    };

    /// Returns the keys that something is said about.
    fn keys(file: &str) -> Vec<&'static str> {
        let setup = setup(file, &[]).expect("it makes sense");
        let certs = CertStore::default();
        let mut found = of_whole(&setup, &MACHINE, 1_000);
        for plan in &setup.plans {
            found.extend(of_listener(plan, &certs, &setup.whole));
        }
        found.iter().map(|finding| finding.key).collect()
    }

    #[test]
    fn there_is_nothing_to_say_about_the_defaults() {
        assert_eq!(keys(""), [""; 0]);
    }

    #[test]
    fn each_finding_has_its_cause() {
        for (line, key) in [
            ("timeout = \"45s\"\ninterval = \"30s\"", "timeout"),
            ("timeout = \"off\"", "timeout"),
            ("interval = \"off\"", "interval"),
            ("interval = \"2m\"", "interval"),
            ("interval = \"30s\"\nping_when = \"idle\"", "interval"),
            ("tick = \"1s\"\ninterval = \"5s\"", "tick"),
            ("tcp_user_timeout = \"5s\"", "tcp_user_timeout"),
            ("write_timeout = \"off\"", "write_timeout"),
            ("handshake_timeout = \"1m\"", "handshake_timeout"),
            (
                "mode = \"broadcast\"\nmessages_per_second = \"off\"",
                "messages_per_second",
            ),
            ("origin = \"any\"", "origin"),
            ("memory_limit = \"off\"", "memory_limit"),
            ("memory_limit = \"2097152GiB\"", "memory_limit"),
            ("shards = 60", "shards"),
            ("max_connections = 2_000_000", "max_connections"),
            ("ws = \"203.0.113.1:80\"", "wss"),
            (
                "ws = \"10.0.0.1:80\"\nproxy_protocol = true",
                "proxy_protocol",
            ),
        ] {
            let found = keys(line);
            assert!(found.contains(&key), "{line}: {found:?}");
            assert!(found.iter().all(|found| *found == key), "{line}: {found:?}");
        }
        let open = "ws = \"203.0.113.1:80\"\ntrust_proxy = \"10.0.0.0/8\"\n";
        for (line, key) in [
            ("half_open_per_address = \"off\"", "half_open_per_address"),
            (
                "share_per_address = \"off\"\nopen_per_address = \"off\"",
                "share_per_address",
            ),
            ("pings_per_second = \"off\"", "pings_per_second"),
            (
                "slow_floor = \"off\"\nmessage_timeout = \"off\"",
                "slow_floor",
            ),
        ] {
            assert_eq!(keys(&format!("{open}{line}")), [key], "{line}");
        }
    }
}
