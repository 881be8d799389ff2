//! Heartwheel keeps very many TCP and WebSocket connections honest on one thread.

pub mod close;
pub mod config;
pub mod error;
pub mod proto;
pub mod reactor;
pub mod stats;
