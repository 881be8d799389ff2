//! The listeners of one loop, and how they are changed while it runs.

use std::sync::Arc;

use heartwheel::error::Error;
use heartwheel::reactor::{Context, ListenAddr, ListenerId};
use heartwheel::rustls::ServerConfig;

use crate::plan::Plan;

/// A listener of one loop.
#[derive(Clone, Debug)]
pub(crate) struct Listening {
    /// What it is called in all loops.
    pub(crate) number: usize,
    pub(crate) id: ListenerId,
    pub(crate) plan: Arc<Plan>,
    /// It is closed. Its connections are served as before.
    pub(crate) is_closed: bool,
}

/// What is to be changed in one loop.
#[derive(Debug)]
pub(crate) enum Step {
    /// To listen there, too.
    Open { terms: Terms, addr: ListenAddr },
    /// To take over other terms, for those who come and for those who are here.
    Change(Terms),
    /// To listen there no longer. Connections stay.
    Close(usize),
}

/// What a listener is to do.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    pub(crate) number: usize,
    pub(crate) plan: Arc<Plan>,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Several loops share its port.
    pub(crate) is_shared: bool,
}

impl Step {
    /// Does it.
    pub(crate) fn take(
        self,
        cx: &mut Context<'_, ()>,
        listening: &mut Vec<Listening>,
    ) -> Result<(), Error> {
        match self {
            Self::Open { terms, addr } => terms.open(cx, addr, listening).map(drop),
            Self::Change(terms) => terms.change(cx, listening),
            Self::Close(number) => {
                for one in listening.iter_mut().filter(|one| one.number == number) {
                    cx.close_listener(one.id);
                    one.is_closed = true;
                }
                Ok(())
            }
        }
    }
}

impl Terms {
    /// Listens with them.
    pub(crate) fn open(
        &self,
        cx: &mut Context<'_, ()>,
        addr: ListenAddr,
        listening: &mut Vec<Listening>,
    ) -> Result<ListenerId, Error> {
        let config = self
            .plan
            .config(Some(addr), self.is_shared, self.tls.clone());
        let id = cx.listen(config)?;
        listening.push(Listening {
            number: self.number,
            id,
            plan: Arc::clone(&self.plan),
            is_closed: false,
        });
        Ok(id)
    }

    fn change(self, cx: &mut Context<'_, ()>, listening: &mut [Listening]) -> Result<(), Error> {
        let config = self.plan.config(None, self.is_shared, self.tls);
        let ours = listening.iter_mut().find(|one| one.number == self.number);
        let Some(one) = ours else { return Ok(()) };
        cx.set_listener(one.id, config)?;
        cx.renew_connections(one.id);
        one.plan = self.plan;
        Ok(())
    }
}
