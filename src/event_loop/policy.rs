//! Policies: configurations of heartbeats and limits, parsed for a wire and kept for sessions.

use super::core::EventLoop;
use super::endpoint::Endpoint;
use super::wire_factory::{Contact, WireFactory};
use crate::config::{HeartbeatConfig, LimitsConfig, WireKind};
use crate::error::ConfigError;
use crate::proto::policy::Policy;
use crate::proto::session::PolicyId;
use crate::sys::System;

impl<D, S: System> EventLoop<D, S> {
    /// Parses the configuration of a listener or client and keeps it for its sessions. The caller
    /// must release it.
    pub(super) fn adopt(
        &mut self,
        heartbeat: &HeartbeatConfig,
        limits: &LimitsConfig,
        factory: &WireFactory,
        endpoint: Endpoint,
    ) -> Result<PolicyId, ConfigError> {
        let wire = factory.make(&Contact::nobody(endpoint));
        let policy = self.policy(heartbeat, limits, wire.kind(), wire.has_pings())?;
        self.env.intern(policy)
    }

    /// Parses the configuration for a wire. If pings are configured, the wire must have them.
    pub(super) fn policy(
        &self,
        heartbeat: &HeartbeatConfig,
        limits: &LimitsConfig,
        wire: WireKind,
        has_pings: bool,
    ) -> Result<Policy, ConfigError> {
        let policy = Policy::new(heartbeat, limits, wire, self.config.tick)?;
        if heartbeat.interval.is_some() && !has_pings {
            return Err(ConfigError::new(
                "interval",
                "must be off: this wire has no pings",
            ));
        }
        Ok(policy)
    }
}
