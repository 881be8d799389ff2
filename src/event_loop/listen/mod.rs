//! Listeners: each new connection is checked against the limits, then accepted, or refused with a
//! reason.
//!
//! The law here: a place is taken before anybody else is asked, because other loops of the group
//! judge at the same time.

mod accept;
mod addresses;
mod admission;
mod admit;
mod adopt;
mod adoption;
mod config;
mod guests;
mod invite;
mod learn;
mod lifecycle;
mod listener;
mod listeners;
mod newcomer;
mod proxied;
mod proxies;
mod rates;
mod refusal;
mod waiting;

pub(super) use addresses::Addresses;
pub(super) use adoption::Adopted;
pub use adoption::Adoption;
pub use config::ListenerConfig;
pub(super) use guests::Guests;
pub(super) use listeners::Listeners;
pub(super) use proxied::Proxied;
pub(super) use rates::Rates;
pub(super) use waiting::Waiting;
