//! The loop itself, on whatever system. The law of this layer: it knows neither mio nor a clock, and every
//! decision about a connection is made by its [`Session`](crate::proto::session::Session).
//!
//! [`EventLoop`] has everything but the wait: connections and their timers, what is to be read, written and
//! reaped, who is let in, who is dialed. It stands on a [`System`](crate::sys::System). The
//! [`Reactor`](crate::reactor::Reactor) runs it on mio; the simulator runs the same code on virtual time.

mod client;
mod conn;
mod context;
mod core;
mod drain;
mod endpoint;
mod expire;
mod expiries;
mod group;
mod handle;
mod handler;
mod history;
mod in_hand;
mod input;
mod listen;
mod opening;
mod output;
mod peers;
mod reap;
mod sleep;
mod timers;
mod token;
mod turn;
#[cfg(feature = "websocket")]
mod upgrade;
mod wire_factory;
mod work;

pub use self::core::{EventLoop, Inspected};
pub use client::{ClientConfig, ClientEvent, DialError, ReconnectConfig};
pub use context::{ConnInfo, Context};
pub use endpoint::Endpoint;
pub use group::Group;
pub use handle::{HandleError, LoopHandle};
#[cfg(feature = "websocket")]
pub use handler::{Answered, HttpAnswer};
pub use handler::{Closed, Handler, Offer, Readiness, Rejected, Rejection, Welcome};
pub use history::Ended;
pub use listen::ListenerConfig;
pub use timers::TimerId;
pub use token::{ClientId, ConnId, ListenerId, SourceId};
pub use turn::Turn;
pub use wire_factory::WireFactory;
