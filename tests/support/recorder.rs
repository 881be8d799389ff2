//! A handler that records what it is told.

use std::sync::mpsc::Sender;
use std::time::Duration;

use heartwheel::close::{Cause, Evidence};
use heartwheel::error::SendError;
use heartwheel::proto::http::Request;
use heartwheel::proto::message::{Message, SharedMessage};
use heartwheel::reactor::{
    Answered, BroadcastDone, BroadcastId, ClientEvent, ClientId, Closed, ConnId, Context, Decision,
    DialRequest, Handler, HttpAnswer, Offer, Readiness, Rejected, Rejection, RequestId, SourceId,
    Welcome,
};

/// What a callback was told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    /// It was offered, or has asked, and waits for an answer.
    Deferred(ConnId),
    Open(ConnId),
    Message(ConnId, Vec<u8>),
    Pong(ConnId, Option<Duration>),
    Writable(ConnId),
    Closed(ConnId, Evidence, u32, String),
    Rejected(Evidence, String),
    /// The status of the last answer, how many there were, and the reason of the end.
    Answered(u16, u32, Evidence, String),
    Client(ClientId, ClientEvent),
    Timer(u64, Duration),
    ConnTimer(ConnId, u64),
    Source(SourceId, Readiness),
    Command(u64),
    /// What another thread sent, and why it was not delivered.
    Undelivered(ConnId, Vec<u8>, SendError),
    /// How many queues took it, and how many did not.
    Broadcast(BroadcastId, usize, usize),
}

/// What was put off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Due {
    Verdict(ConnId),
    Answer(RequestId),
}

type React = Box<dyn FnMut(&mut Context<'_, u32>, &Seen)>;
type Dial = Box<dyn FnMut(&mut Context<'_, u32>, DialRequest) -> Decision<DialRequest>>;
type Judge = Box<dyn FnMut(&Offer<'_>) -> Result<Welcome<u32>, Rejection>>;

/// Records every callback; may react to one.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) seen: Vec<Seen>,
    pub(crate) react: Option<React>,
    pub(crate) judge: Option<Judge>,
    pub(crate) dial: Option<Dial>,
    pub(crate) http: Option<HttpAnswer>,
    /// All answers are put off.
    pub(crate) defers: bool,
    /// Who is told of those, with the path that they ask for.
    pub(crate) checks: Option<Sender<(Due, String)>>,
    /// The plain requests among them.
    pub(crate) asked: Vec<RequestId>,
    /// Those that ended before they opened, where they were offered.
    pub(crate) left: Vec<Option<ConnId>>,
    /// Plain requests, each with its body: `POST /path`, what followed.
    pub(crate) requests: Vec<(String, Vec<u8>)>,
    /// Those that are no longer open.
    pub(crate) closing: Vec<(ConnId, Cause)>,
    pub(crate) echo: bool,
}

impl Recorder {
    pub(crate) fn echoing() -> Self {
        Self {
            echo: true,
            ..Self::default()
        }
    }

    pub(crate) fn reacting(react: impl FnMut(&mut Context<'_, u32>, &Seen) + 'static) -> Self {
        Self {
            react: Some(Box::new(react)),
            ..Self::default()
        }
    }

    fn note(&mut self, cx: &mut Context<'_, u32>, seen: Seen) {
        if let Some(react) = &mut self.react {
            react(cx, &seen);
        }
        self.seen.push(seen);
    }

    pub(crate) fn deferred(&self) -> Vec<ConnId> {
        let deferred = |seen: &Seen| match seen {
            Seen::Deferred(id) => Some(*id),
            _ => None,
        };
        self.seen.iter().filter_map(deferred).collect()
    }

    pub(crate) fn opened(&self) -> Vec<ConnId> {
        let open = |seen: &Seen| match seen {
            Seen::Open(id) => Some(*id),
            _ => None,
        };
        self.seen.iter().filter_map(open).collect()
    }

    pub(crate) fn closed(&self) -> Vec<(ConnId, Evidence)> {
        let closed = |seen: &Seen| match seen {
            Seen::Closed(id, evidence, ..) => Some((*id, *evidence)),
            _ => None,
        };
        self.seen.iter().filter_map(closed).collect()
    }

    pub(crate) fn rejected(&self) -> Vec<Evidence> {
        let rejected = |seen: &Seen| match seen {
            Seen::Rejected(evidence, _) => Some(*evidence),
            _ => None,
        };
        self.seen.iter().filter_map(rejected).collect()
    }

    pub(crate) fn answered(&self) -> Vec<(u16, u32, Evidence)> {
        let answered = |seen: &Seen| match seen {
            Seen::Answered(status, answers, evidence, _) => Some((*status, *answers, *evidence)),
            _ => None,
        };
        self.seen.iter().filter_map(answered).collect()
    }

    pub(crate) fn messages(&self) -> Vec<Vec<u8>> {
        let message = |seen: &Seen| match seen {
            Seen::Message(_, data) => Some(data.clone()),
            _ => None,
        };
        self.seen.iter().filter_map(message).collect()
    }
}

impl Handler<u64> for Recorder {
    type Data = u32;

    fn on_accept(
        &mut self,
        cx: &mut Context<'_, u32>,
        offer: &Offer<'_>,
    ) -> Result<Decision<Welcome<u32>>, Rejection> {
        if self.defers {
            if let (Some(checks), Some(upgrade)) = (&self.checks, offer.upgrade()) {
                let path = upgrade.request().path().to_owned();
                checks.send((Due::Verdict(offer.id), path)).unwrap();
            }
            self.note(cx, Seen::Deferred(offer.id));
            return Ok(Decision::Later);
        }
        match &mut self.judge {
            Some(judge) => judge(offer).map(Decision::from),
            None => Ok(Welcome::with(7).into()),
        }
    }

    fn on_open(&mut self, cx: &mut Context<'_, u32>, id: ConnId) {
        self.note(cx, Seen::Open(id));
    }

    fn on_message(&mut self, cx: &mut Context<'_, u32>, id: ConnId, message: Message<'_>) {
        if self.echo {
            let sent = cx.send(id, message);
            assert!(matches!(sent, Ok(()) | Err(SendError::Closed)), "{sent:?}");
        }
        self.note(cx, Seen::Message(id, message.data().to_vec()));
    }

    fn on_pong(&mut self, cx: &mut Context<'_, u32>, id: ConnId, rtt: Option<Duration>) {
        self.note(cx, Seen::Pong(id, rtt));
    }

    fn on_writable(&mut self, cx: &mut Context<'_, u32>, id: ConnId) {
        self.note(cx, Seen::Writable(id));
    }

    fn on_closing(&mut self, cx: &mut Context<'_, u32>, id: ConnId, cause: Cause) {
        assert!(cx.data(id).is_some(), "it is still there");
        self.closing.push((id, cause));
    }

    fn on_close(&mut self, cx: &mut Context<'_, u32>, closed: Closed<'_, u32>) {
        let told = self.closing.iter().find(|(id, _)| *id == closed.id);
        let cause = told.expect("it was told before").1;
        let may_follow = [cause, Cause::CloseTimeout];
        assert!(may_follow.contains(&closed.evidence.cause), "after {cause}");
        let reason = closed.reason.to_owned();
        self.note(
            cx,
            Seen::Closed(closed.id, *closed.evidence, closed.data, reason),
        );
    }

    fn on_rejected(&mut self, cx: &mut Context<'_, u32>, rejected: Rejected<'_>) {
        self.left.push(rejected.id);
        let reason = rejected.reason.to_owned();
        self.note(cx, Seen::Rejected(*rejected.evidence, reason));
    }

    fn on_answered(&mut self, cx: &mut Context<'_, u32>, answered: Answered<'_>) {
        let (status, answers) = (answered.status, answered.answers);
        let (evidence, reason) = (*answered.evidence, answered.reason.to_owned());
        self.note(cx, Seen::Answered(status, answers, evidence, reason));
    }

    fn on_http(
        &mut self,
        cx: &mut Context<'_, u32>,
        id: RequestId,
        request: &Request<'_>,
    ) -> Decision<HttpAnswer> {
        let line = format!("{} {}", request.method(), request.target());
        self.requests.push((line, request.body().to_vec()));
        if self.defers {
            if let Some(checks) = &self.checks {
                let path = request.path().to_owned();
                checks.send((Due::Answer(id), path)).unwrap();
            }
            self.asked.push(id);
            self.note(cx, Seen::Deferred(id.conn()));
            return Decision::Later;
        }
        self.http
            .clone()
            .unwrap_or_else(HttpAnswer::upgrade_required)
            .into()
    }

    fn on_dial(
        &mut self,
        cx: &mut Context<'_, u32>,
        _: ClientId,
        request: DialRequest,
    ) -> Decision<DialRequest> {
        match &mut self.dial {
            Some(dial) => dial(cx, request),
            None => request.into(),
        }
    }

    fn on_client(&mut self, cx: &mut Context<'_, u32>, id: ClientId, event: ClientEvent) {
        self.note(cx, Seen::Client(id, event));
    }

    fn on_timer(&mut self, cx: &mut Context<'_, u32>, word: u64) {
        let now = cx.now();
        self.note(cx, Seen::Timer(word, now));
    }

    fn on_conn_timer(&mut self, cx: &mut Context<'_, u32>, id: ConnId, word: u64) {
        assert!(cx.data(id).is_some(), "it is there");
        self.note(cx, Seen::ConnTimer(id, word));
    }

    fn on_source(&mut self, cx: &mut Context<'_, u32>, id: SourceId, ready: Readiness) {
        self.note(cx, Seen::Source(id, ready));
    }

    fn on_command(&mut self, cx: &mut Context<'_, u32>, word: u64) {
        self.note(cx, Seen::Command(word));
    }

    fn on_undelivered(
        &mut self,
        cx: &mut Context<'_, u32>,
        id: ConnId,
        message: &SharedMessage,
        error: SendError,
    ) {
        let data = message.message().data().to_vec();
        self.note(cx, Seen::Undelivered(id, data, error));
    }

    fn on_broadcast(&mut self, cx: &mut Context<'_, u32>, done: BroadcastDone) {
        self.note(cx, Seen::Broadcast(done.id, done.sent, done.dropped));
    }
}
