//! What `serve` tells health checks: whether it runs, and whether it takes anybody in.

use std::collections::HashMap;

use heartwheel::proto::http::Request;
use heartwheel::reactor::{ConnId, Context, HttpAnswer};

/// Answers health checks, and remembers who asked for nothing else: they are too many for the journal.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Whether all requests of a connection were checks.
    asked: HashMap<ConnId, bool>,
}

/// Whether we take anybody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Ready,
    Full,
    Draining,
}

impl State {
    pub(crate) fn of<D>(cx: &Context<'_, D>) -> Self {
        match (cx.is_draining(), cx.is_full()) {
            (true, _) => Self::Draining,
            (false, true) => Self::Full,
            (false, false) => Self::Ready,
        }
    }

    /// Returns what is said of it in words.
    fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready\n",
            Self::Full => "too many connections\n",
            Self::Draining => "going away\n",
        }
    }
}

impl Health {
    /// Answers a plain request.
    pub(crate) fn answer(&mut self, id: ConnId, request: &Request<'_>, state: State) -> HttpAnswer {
        let path = request.path();
        *self.asked.entry(id).or_insert(true) &= is_check(path);
        answer_to(request.method(), path, state)
    }

    /// Forgets a connection. Returns whether it asked for nothing but checks.
    pub(crate) fn forget(&mut self, id: ConnId) -> bool {
        self.asked.remove(&id) == Some(true)
    }
}

/// Says whether a path is that of a check.
pub(crate) fn is_check(path: &str) -> bool {
    matches!(path, RUNS | IS_READY)
}

/// Answers one.
pub(crate) fn answer_to(method: &str, path: &str, state: State) -> HttpAnswer {
    match (path, method) {
        (RUNS, "GET" | "HEAD") => fresh(HttpAnswer::text(200, "ok\n")),
        (IS_READY, "GET" | "HEAD") if state == State::Ready => {
            fresh(HttpAnswer::text(200, state.word()))
        }
        (IS_READY, "GET" | "HEAD") => fresh(later(state)),
        (RUNS | IS_READY, _) => {
            let mut answer = HttpAnswer::text(405, "only GET and HEAD\n");
            answer.headers.push(("Allow".into(), "GET, HEAD".into()));
            answer
        }
        _ if state == State::Ready => HttpAnswer::upgrade_required(),
        _ => later(state),
    }
}

/// Answers that we take nobody in now.
fn later(state: State) -> HttpAnswer {
    let mut answer = HttpAnswer::text(503, state.word());
    answer.headers.push(("Retry-After".into(), "1".into()));
    answer
}

/// Keeps whoever is on the way from answering in our place.
fn fresh(mut answer: HttpAnswer) -> HttpAnswer {
    let field = ("Cache-Control".into(), "no-store".into());
    answer.headers.push(field);
    answer
}

/// Whether the loop runs: whoever answers is alive.
const RUNS: &str = "/healthz";

/// Whether newcomers are taken in.
const IS_READY: &str = "/readyz";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_runs_whatever_the_state_and_is_ready_only_if_it_takes_somebody_in() {
        use State::{Draining, Full, Ready};

        for (method, path, state, status) in [
            ("GET", "/healthz", Ready, 200),
            ("HEAD", "/healthz", Draining, 200),
            ("GET", "/healthz", Full, 200),
            ("GET", "/readyz", Ready, 200),
            ("HEAD", "/readyz", Full, 503),
            ("GET", "/readyz", Draining, 503),
            ("POST", "/readyz", Ready, 405),
            ("DELETE", "/healthz", Full, 405),
            ("GET", "/", Ready, 426),
            ("GET", "/healthz/", Ready, 426),
            ("GET", "/", Full, 503),
            ("POST", "/x", Draining, 503),
        ] {
            let answer = answer_to(method, path, state);
            assert_eq!(answer.status, status, "{method} {path} {state:?}");
        }
    }
}
