//! Listeners: who comes is held against the limits, and let in or told why not. The law here: a place is
//! taken before anybody else is asked, for other loops of the group judge at the same time.

mod accept;
mod addresses;
mod admission;
mod admit;
mod config;
mod lifecycle;
mod listener;
mod listeners;
mod rates;
mod refusal;
mod waiting;

pub(super) use addresses::Addresses;
pub use config::ListenerConfig;
pub(super) use listener::Listener;
pub(super) use listeners::Listeners;
pub(super) use rates::Rates;
pub(super) use waiting::Waiting;
