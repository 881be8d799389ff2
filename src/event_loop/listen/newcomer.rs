//! Somebody who comes, until it has a slot or is turned away.

use std::net::IpAddr;

use super::adoption::Arrival;
use crate::event_loop::conn::Mark;
use crate::event_loop::token::ListenerId;
use crate::proto::flags::Flags;
use crate::proto::session::{PolicyId, Wire};
use crate::sys::System;

/// A new connection, and what holds for it.
#[derive(Debug)]
pub(super) struct Newcomer<D, S: System> {
    pub(super) listener: ListenerId,
    pub(super) arrival: Arrival<D, S::Socket>,
    pub(super) wire: Wire,
    /// What lies between its socket and its session.
    pub(super) layer: Option<S::Layer>,
    pub(super) policy: PolicyId,
    /// The address that it counts for, if it counts for one.
    pub(super) ip: Option<IpAddr>,
    /// What it counts as.
    pub(super) marks: Flags<Mark>,
    /// A header of the PROXY protocol comes first.
    pub(super) expects_header: bool,
    /// It may ask in HTTP even where there is no place for it.
    pub(super) may_be_guest: bool,
    /// It is let in for that.
    pub(super) is_guest: bool,
}
