//! Listeners: who comes is held against the limits, and let in or told why not. The law here: a place is
//! taken before anybody else is asked, for other loops of the group judge at the same time.

mod accept;
mod addresses;
mod admission;
mod admit;
mod config;
mod listener;
mod rates;
mod refusal;
mod waiting;

pub(super) use addresses::Addresses;
pub(super) use admission::Admission;
pub use config::ListenerConfig;
pub(super) use listener::Listener;
pub(super) use rates::Rates;
pub(super) use waiting::Waiting;
