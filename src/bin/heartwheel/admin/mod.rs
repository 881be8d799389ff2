//! The listener for operators and for monitoring: HTTP on the first loop, which asks the others.
//!
//! Nothing here may hold up a heartbeat. So a list of connections is made a part at a time, in turns of
//! their own, and an answer waits in its connection's queue for whoever reads it slowly.

pub(crate) mod access;
pub(crate) mod ask;
pub(crate) mod desk;
pub(crate) mod listing;
pub(crate) mod metrics;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use heartwheel::proto::http::Request;
use heartwheel::reactor::{
    ConnId, Context, Endpoint, HttpAnswer, ListenAddr, ListenerConfig, ListenerId, RequestId,
    WireFactory,
};
use log::LevelFilter;
use serde_json::{Value, json};

use self::access::{Access, Denial, Wish, names};
use self::ask::{Ask, Number, Part};
use self::listing::{Choice, page};
use self::metrics::Snapshot;
use crate::listening::Place;
use crate::values::{log_level, time};

/// What the first loop has for operators.
pub(crate) struct Admin {
    listener: ListenerId,
    access: Access,
    limits: Limits,
    /// When certificates expire, seconds since 1970, by file.
    certificates: Vec<(String, u64)>,
    next: Number,
    waiting: HashMap<Number, Waiting>,
}

/// Limits that monitoring compares with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_connections: u64,
    pub(crate) memory_limit: Option<u64>,
}

/// Somebody who waits for an answer.
#[derive(Debug)]
struct Waiting {
    request: RequestId,
    ask: Ask,
    parts: Vec<Part>,
    /// How many loops have not answered.
    missing: usize,
    since: Instant,
}

/// What a request asks for.
#[derive(Debug)]
pub(crate) enum Order {
    /// What all loops know together.
    Ask(Ask),
    /// The values in force.
    Policy,
    Drain(Option<Duration>),
    Reload,
    Log(LevelFilter),
}

/// Returns what the listener of operators listens with. Whoever measures may ask often, on one connection, and
/// rarely; and operators are let in when there is no place for anybody else.
pub(crate) fn terms(addr: ListenAddr, place: &Place) -> ListenerConfig {
    let mut config = ListenerConfig::at(addr, WireFactory::WebSocket);
    config.web = names(place);
    config.answer_when_full = true;
    config.limits.max_requests = u32::MAX;
    config.heartbeat.handshake_timeout = PATIENCE;
    config
}

impl Admin {
    pub(crate) fn new(listener: ListenerId, access: Access, limits: Limits) -> Self {
        Self {
            listener,
            access,
            limits,
            certificates: Vec::new(),
            next: 0,
            waiting: HashMap::new(),
        }
    }

    /// Says whether a connection is an operator's.
    pub(crate) fn has(&self, endpoint: Endpoint) -> bool {
        endpoint == Endpoint::Listener(self.listener)
    }

    /// Notes when certificates expire.
    pub(crate) fn note_certificates(&mut self, certificates: Vec<(String, u64)>) {
        self.certificates = certificates;
    }

    /// Reads a request, or answers it at once.
    pub(crate) fn read(&self, request: &Request<'_>) -> Result<Order, HttpAnswer> {
        let path = request.path();
        let wish = match path {
            "/metrics" | "/api/conns" | "/api/closed" | "/api/policy" => Wish::Look,
            _ if path.starts_with("/api/conns/") => Wish::Look,
            "/api/kick" | "/api/drain" | "/api/reload" | "/api/log-level" => Wish::Act,
            _ => return Err(fault(404, "there is nothing here")),
        };
        let method = match wish {
            Wish::Act => "POST",
            Wish::Look => "GET",
        };
        if request.method() != method {
            let mut answer = fault(405, &format!("only {method}"));
            answer.headers.push(("Allow".into(), method.into()));
            return Err(answer);
        }
        self.access.check(request, wish).map_err(denied)?;
        order(request).map_err(|said| fault(400, &said))
    }

    /// Notes who waits for the answers of so many loops.
    pub(crate) fn wait(&mut self, request: RequestId, ask: Ask, loops: usize) -> Number {
        // Whoever has not had an answer by now was told that by the loop.
        self.waiting
            .retain(|_, one| one.since.elapsed() < FORGOTTEN);
        self.next += 1;
        let waiting = Waiting {
            request,
            ask,
            parts: Vec::new(),
            missing: loops,
            since: Instant::now(),
        };
        self.waiting.insert(self.next, waiting);
        self.next
    }

    /// Takes what one loop answers, or that it cannot. After the last one, returns the answer to the request.
    pub(crate) fn take(
        &mut self,
        cx: &Context<'_, ()>,
        number: Number,
        part: Option<Part>,
    ) -> Option<(RequestId, HttpAnswer)> {
        let waiting = self.waiting.get_mut(&number)?;
        waiting.missing -= 1;
        waiting.parts.extend(part);
        if waiting.missing > 0 {
            return None;
        }
        let waiting = self.waiting.remove(&number)?;
        let Waiting {
            request,
            ask,
            parts,
            ..
        } = waiting;
        Some((request, self.answer(cx, &ask, parts)))
    }

    /// Puts the answers of all loops together.
    fn answer(&self, cx: &Context<'_, ()>, ask: &Ask, parts: Vec<Part>) -> HttpAnswer {
        match ask {
            Ask::Stats => {
                let text = self.snapshot(cx, parts).encode();
                with_type(200, OPEN_METRICS, text)
            }
            Ask::Conns(choice) => {
                let (mut all, mut sum) = (Vec::new(), 0);
                for part in parts {
                    if let Part::Conns { rows, count } = part {
                        all.extend(rows);
                        sum += count;
                    }
                }
                json_answer(200, &page(choice, all, sum))
            }
            Ask::Conn(id) => {
                let found = parts.into_iter().find_map(|part| match part {
                    Part::Conn(found) => found,
                    _ => None,
                });
                found.map_or_else(|| nobody(*id), |found| json_answer(200, &found))
            }
            Ask::Closed(most) => {
                let mut ends = Vec::new();
                for part in parts {
                    if let Part::Closed(more) = part {
                        ends.extend(more);
                    }
                }
                ends.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
                let ends = ends.into_iter().take(*most).map(|(_, end)| end);
                json_answer(200, &json!({ "closed": ends.collect::<Vec<_>>() }))
            }
            Ask::Kick(id) => {
                let is_kicked = |part: &Part| matches!(part, Part::Kicked(true));
                match parts.iter().any(is_kicked) {
                    true => json_answer(200, &json!({ "kicked": id.to_string() })),
                    false => nobody(*id),
                }
            }
        }
    }

    fn snapshot(&self, cx: &Context<'_, ()>, parts: Vec<Part>) -> Snapshot {
        let mut snapshot = Snapshot {
            max_connections: self.limits.max_connections,
            memory_limit: self.limits.memory_limit,
            is_draining: cx.is_draining(),
            certificates: self.certificates.clone(),
            ..Snapshot::default()
        };
        for part in parts {
            let Part::Stats {
                shard,
                stats,
                listeners,
            } = part
            else {
                continue;
            };
            snapshot.health.push((shard, stats.health));
            snapshot.stats.merge(&stats);
            for (name, count) in listeners {
                let known = snapshot.listeners.iter_mut().find(|one| one.0 == name);
                match known {
                    Some(known) => known.1 += count,
                    None => snapshot.listeners.push((name, count)),
                }
            }
        }
        snapshot.health.sort_unstable();
        snapshot
    }
}

/// Finds out what is asked for.
fn order(request: &Request<'_>) -> Result<Order, String> {
    let given = |key: &str| request.query_value(key);
    let id = |text: &str| {
        let id = text.parse::<ConnId>();
        id.map_err(|error| format!("{text:?} {error}"))
    };
    let path = request.path();
    Ok(match path {
        "/metrics" => Order::Ask(Ask::Stats),
        "/api/conns" => Order::Ask(Ask::Conns(Choice::of(request)?)),
        "/api/closed" => {
            let limit = given("limit").map(|limit| limit.parse());
            let limit = limit.transpose().map_err(|_| "limit is a number")?;
            Order::Ask(Ask::Closed(limit.unwrap_or(50)))
        }
        "/api/policy" => Order::Policy,
        "/api/kick" => {
            let typed = given("id").ok_or("id is missing, such as ?id=0.12")?;
            Order::Ask(Ask::Kick(id(&typed)?))
        }
        "/api/drain" => {
            let window = given("window").map(|window| time(&window)).transpose();
            Order::Drain(window.map_err(|said| format!("window {said}"))?)
        }
        "/api/reload" => Order::Reload,
        "/api/log-level" => {
            let level = given("level").ok_or("level is missing, such as ?level=debug")?;
            Order::Log(log_level(&level).map_err(|said| format!("level {said}"))?)
        }
        _ => {
            // Some clients write a colon in a path so (RFC 3986, section 2.1).
            let typed = path.trim_start_matches("/api/conns/").replace("%3A", ":");
            Order::Ask(Ask::Conn(id(&typed)?))
        }
    })
}

fn denied(denial: Denial) -> HttpAnswer {
    match denial {
        Denial::Unknown => {
            let mut answer = fault(401, "needs a token: Authorization: Bearer TOKEN");
            let challenge = ("WWW-Authenticate".into(), "Bearer".into());
            answer.headers.push(challenge);
            answer
        }
        Denial::OnlyLooks => fault(403, "this token may look, but change nothing"),
        Denial::OtherSite => fault(403, "a page of another site changes nothing"),
    }
}

fn nobody(id: ConnId) -> HttpAnswer {
    fault(
        404,
        &format!("there is no connection {id}; it may have ended"),
    )
}

/// Answers that something is wrong.
pub(crate) fn fault(status: u16, said: &str) -> HttpAnswer {
    json_answer(status, &json!({ "error": said }))
}

/// Answers with JSON.
pub(crate) fn json_answer(status: u16, value: &Value) -> HttpAnswer {
    with_type(status, "application/json", format!("{value}\n"))
}

fn with_type(status: u16, kind: &str, body: String) -> HttpAnswer {
    HttpAnswer {
        status,
        headers: vec![
            ("Content-Type".into(), kind.into()),
            ("Cache-Control".into(), "no-store".into()),
        ],
        body: body.into_bytes(),
    }
}

/// The type of what monitoring reads.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Time between two requests on a connection, such as those of monitoring.
const PATIENCE: Duration = Duration::from_secs(120);

/// After this time nobody waits any more.
const FORGOTTEN: Duration = Duration::from_secs(150);
