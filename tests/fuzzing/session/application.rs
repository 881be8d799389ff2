//! What the loop tells its application, kept to be compared with what it ought to.

use std::collections::VecDeque;
use std::time::Duration;

use heartwheel::close::Evidence;
use heartwheel::event_loop::{
    Closed, ConnId, Context, Decision, Handler, Offer, Rejected, Rejection, Welcome,
};
use heartwheel::proto::message::Message;

use super::super::memory::Memory;
use super::super::memory::pipe::Pipe;

#[derive(Debug, Default)]
pub(super) struct Application {
    /// It turns away whoever comes next.
    pub(super) refuses: bool,
    pub(super) is_opened: bool,
    pub(super) heard: VecDeque<Vec<u8>>,
    pub(super) pongs: VecDeque<Option<Duration>>,
    pub(super) end: Option<Evidence>,
}

type Cx<'a> = Context<'a, (), Memory<Pipe>>;

impl Handler<(), Memory<Pipe>> for Application {
    type Data = ();

    fn on_accept(
        &mut self,
        _: &mut Cx<'_>,
        _: &Offer<'_>,
    ) -> Result<Decision<Welcome<()>>, Rejection> {
        match self.refuses {
            true => Err(Rejection::new(503, "no")),
            false => Ok(Welcome::default().into()),
        }
    }

    fn on_open(&mut self, _: &mut Cx<'_>, _: ConnId) {
        assert!(!self.is_opened, "it opens once");
        self.is_opened = true;
    }

    fn on_message(&mut self, _: &mut Cx<'_>, _: ConnId, message: Message<'_>) {
        self.heard.push_back(message.data().to_vec());
    }

    fn on_pong(&mut self, _: &mut Cx<'_>, _: ConnId, rtt: Option<Duration>) {
        self.pongs.push_back(rtt);
    }

    fn on_close(&mut self, _: &mut Cx<'_>, closed: Closed<'_, ()>) {
        assert!(self.is_opened);
        assert!(self.end.replace(*closed.evidence).is_none(), "it ends once");
    }

    fn on_rejected(&mut self, _: &mut Cx<'_>, rejected: Rejected<'_>) {
        assert!(!self.is_opened);
        let end = self.end.replace(*rejected.evidence);
        assert!(end.is_none(), "it ends once");
    }
}
