//! The loop, over any system.
//!
//! The law of this layer: it uses neither mio nor a clock, and each connection's
//! [`Session`](crate::proto::session::Session) makes every decision about it.
//!
//! [`EventLoop`] does everything except the wait: connections and their timers, reading, writing
//! and reaping, admission, and dials. It runs on a [`System`](crate::sys::System). The
//! [`Reactor`](crate::reactor::Reactor) runs it on mio; the simulator runs the same code on virtual
//! time.

mod answer;
mod broadcast;
mod broadcasts;
mod budget;
mod carried;
mod client;
mod clock;
mod conn;
mod context;
mod core;
mod deciding;
mod deferrals;
mod delivery;
mod drain;
mod endpoint;
mod expire;
mod expiries;
mod greeting;
mod group;
mod half_open;
mod handle;
mod handler;
mod held_back;
mod history;
mod holders;
mod in_hand;
mod input;
mod inspect;
mod lane;
mod listen;
mod opening;
mod output;
mod peers;
mod policy;
mod progress;
mod publish;
mod reap;
mod renew;
mod renewals;
mod shaking;
mod share;
mod shutdown;
mod siblings;
mod sleep;
#[cfg(test)]
mod tests;
mod timers;
mod token;
mod topics;
mod turn;
#[cfg(feature = "websocket")]
mod upgrade;
mod wait;
mod wire_factory;
mod work;

pub use self::core::EventLoop;
#[cfg(feature = "websocket")]
pub use answer::HttpAnswer;
pub use answer::{Decision, Rejection, Welcome};
pub use client::{
    ClientConfig, ClientEvent, DialError, DialRequest, LastEnd, Lost, QueueConfig, QueueOverflow,
    ReconnectConfig, StopReason,
};
pub use context::{ConnInfo, Context};
pub use delivery::{BroadcastDone, BroadcastId};
pub use endpoint::Endpoint;
pub use group::Group;
pub use handle::{CommandError, HandleError, LoopHandle};
#[cfg(feature = "websocket")]
pub use handler::Answered;
pub use handler::{Closed, Handler, Offer, Readiness, Rejected};
pub use history::Ended;
pub use inspect::Inspected;
pub use listen::{Adoption, ListenerConfig};
pub use timers::TimerId;
#[cfg(feature = "websocket")]
pub use token::RequestId;
pub use token::{ClientId, ConnId, ConnIdError, ListenerId, SourceId};
pub use turn::Turn;
pub use wire_factory::{Contact, MakeCodec, WireFactory};
