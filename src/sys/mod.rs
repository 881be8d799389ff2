//! The traits that a loop runs on, and their implementation for the operating system.
//!
//! The law of this layer: [`System`], [`Socket`] and [`Layer`] are all that a loop may ask for.
//! Nothing here knows connections, sessions or deadlines. [`Native`] implements them with mio and
//! the clocks. A simulator implements them with a simulated world and runs the same loop. Their
//! times are the core's [`Micros`](crate::proto::time::Micros), because they are passed on to
//! sessions unchanged.

mod alarm;
#[cfg(feature = "websocket")]
mod calendar;
mod clock;
mod descriptors;
mod entropy;
mod kernel;
mod listening;
mod native;
mod options;
mod resolver;
mod socket;
mod stream;
mod system;
#[cfg(feature = "tls")]
mod tls;
mod wake_timer;

#[cfg(test)]
pub(crate) use clock::Hands;
pub(crate) use clock::Start;
pub(crate) use descriptors::{MORE_DESCRIPTORS, Reserve, lacks_descriptors};
pub(crate) use entropy::entropy;
pub use listening::{ListenAddr, Listening, SocketFile};
pub use native::Native;
pub use options::{Keepalive, SocketOptions};
pub(crate) use socket::{cause_of, is_reset};
pub(crate) use stream::Transport;
pub use stream::{Layer, LayerFault, NoLayer, Received, Seal, Sent, Socket};
pub use system::{Asker, Event, Probe, Ready, Resolved, System, Token, Wake};
#[cfg(feature = "tls")]
pub use tls::Tls;
