//! What a loop stands on, and the operating system's side of it.
//!
//! The law of this layer: [`System`] and [`Socket`] say all that a loop may ask for, and nothing here knows
//! connections, sessions or deadlines. [`Native`] answers with mio and the clocks; a simulator answers with
//! a world of its own, and runs the same loop. Their times are the core's: what they say goes into sessions
//! as it is.

mod alarm;
#[cfg(feature = "websocket")]
mod calendar;
mod clock;
mod descriptors;
mod entropy;
mod kernel;
mod native;
mod options;
mod resolver;
mod socket;
mod stream;
mod system;
mod wake_timer;

#[cfg(test)]
pub(crate) use clock::Hands;
pub(crate) use clock::Start;
pub(crate) use descriptors::{MORE_DESCRIPTORS, Reserve, lacks_descriptors};
pub(crate) use entropy::entropy;
pub use native::Native;
pub use options::{Keepalive, SocketOptions};
pub(crate) use socket::{cause_of, is_reset};
pub use stream::{Plain, Received, Sent, Socket, Stream};
pub use system::{Asker, Event, Found, Probe, Ready, System, Token, Wake};
