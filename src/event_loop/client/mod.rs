//! Clients: targets that are dialed, and dialed again when the connection is lost. The law here: whoever is
//! to be told of something is told once the books are right, for its callback may stop or add any client.

mod clients;
mod config;
mod dial;
mod event;
mod keep;
mod lanes;
mod lifecycle;
mod look_up;
mod queue;
mod request;
mod target;
mod tunnel;

#[cfg(test)]
mod tests;

pub(super) use clients::Clients;
pub use config::{ClientConfig, ReconnectConfig};
pub use event::{ClientEvent, DialError, StopReason};
pub use queue::{Lost, QueueConfig, QueueOverflow};
pub use request::{DialRequest, LastEnd};
