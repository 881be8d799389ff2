//! The policies that the sessions of a loop follow, each kept once for all its users.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::ConfigError;
use crate::proto::policy::Policy;

/// The number of a policy in its environment. When nobody uses the policy, the number is given to
/// another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PolicyId(u16);

/// All policies in use, with how many use each.
///
/// To find one costs the same however many there are, and the last user frees it.
#[derive(Debug, Default)]
pub(super) struct Policies {
    known: HashMap<Arc<Policy>, PolicyId>,
    slots: Vec<Slot>,
    /// Slots without a policy.
    free: Vec<PolicyId>,
}

#[derive(Debug)]
struct Slot {
    policy: Option<Arc<Policy>>,
    /// At the largest number the policy stays for good, since nobody knows any more how many use it.
    users: u32,
}

impl Policies {
    /// How many different ones there may be at once.
    const MOST: usize = 1 << 16;

    /// Adds a policy, or finds the one that is equal, for one more user.
    pub(super) fn intern(&mut self, policy: Policy) -> Result<PolicyId, ConfigError> {
        if let Some(id) = self.known.get(&policy).copied() {
            self.retain(id);
            return Ok(id);
        }
        self.insert(policy)
    }

    /// Notes one more user.
    pub(super) fn retain(&mut self, id: PolicyId) {
        let slot = self.slot(id);
        slot.users = slot.users.saturating_add(1);
    }

    /// Notes one user less; the last one frees the policy.
    pub(super) fn release(&mut self, id: PolicyId) {
        let slot = self.slot(id);
        if slot.users == u32::MAX {
            return;
        }
        slot.users -= 1;
        if slot.users == 0
            && let Some(policy) = slot.policy.take()
        {
            self.known.remove(&policy);
            self.free.push(id);
        }
    }

    /// Gives one policy back for another, which finds room even if the first makes it. Where there is
    /// none, nothing changes.
    pub(super) fn exchange(
        &mut self,
        held: PolicyId,
        policy: Policy,
    ) -> Result<PolicyId, ConfigError> {
        let is_known = self.known.contains_key(&policy);
        let makes_room = !is_known && self.slot(held).users == 1;
        if makes_room {
            self.release(held);
            return self.insert(policy);
        }
        let id = self.intern(policy)?;
        self.release(held);
        Ok(id)
    }

    pub(super) fn get(&self, id: PolicyId) -> &Policy {
        let policy = self.slots[usize::from(id.0)].policy.as_ref();
        policy.expect("a policy stays as long as somebody uses it")
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Keeps one that is new, for its first user.
    fn insert(&mut self, policy: Policy) -> Result<PolicyId, ConfigError> {
        let policy = Arc::new(policy);
        let slot = Slot {
            policy: Some(Arc::clone(&policy)),
            users: 1,
        };
        let id = if let Some(id) = self.free.pop() {
            self.slots[usize::from(id.0)] = slot;
            id
        } else {
            let id = u16::try_from(self.slots.len()).map_err(|_| full())?;
            self.slots.push(slot);
            PolicyId(id)
        };
        self.known.insert(policy, id);
        Ok(id)
    }

    fn slot(&mut self, id: PolicyId) -> &mut Slot {
        let slot = &mut self.slots[usize::from(id.0)];
        assert!(slot.users > 0, "who uses a policy holds it");
        slot
    }
}

fn full() -> ConfigError {
    let most = Policies::MOST;
    ConfigError::new(
        "heartbeat",
        format!("is one of more than {most} different ones"),
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::config::{HeartbeatConfig, LimitsConfig, WireKind};

    /// One of many policies that differ.
    fn policy(number: u32) -> Policy {
        let heartbeat = HeartbeatConfig {
            app_idle: Some(Duration::from_millis(u64::from(number) + 1)),
            ..HeartbeatConfig::tcp()
        };
        let (limits, tick) = (LimitsConfig::default(), Duration::from_millis(10));
        Policy::new(&heartbeat, &limits, WireKind::Line, tick).expect("sound")
    }

    fn full_of(count: u32) -> (Policies, Vec<PolicyId>) {
        let mut policies = Policies::default();
        let ids = (0..count).map(|number| policies.intern(policy(number)).expect("there is room"));
        let ids = ids.collect();
        (policies, ids)
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Intern(u32),
        Retain(usize),
        Release(usize),
        Exchange(usize, u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..12u32).prop_map(Step::Intern),
            2 => any::<usize>().prop_map(Step::Retain),
            4 => any::<usize>().prop_map(Step::Release),
            2 => (any::<usize>(), 0..12u32).prop_map(|(at, number)| Step::Exchange(at, number)),
        ]
    }

    proptest! {
        /// The model is a list with one entry for each user.
        #[test]
        fn a_policy_lives_as_long_as_its_last_user(steps in prop::collection::vec(step(), 0..200)) {
            let mut policies = Policies::default();
            let mut users: Vec<(PolicyId, u32)> = Vec::new();
            let mut most = 0;
            for step in steps {
                match step {
                    Step::Intern(number) => {
                        let id = policies.intern(policy(number)).expect("there is room");
                        users.push((id, number));
                    }
                    Step::Retain(at) if !users.is_empty() => {
                        let user = users[at % users.len()];
                        policies.retain(user.0);
                        users.push(user);
                    }
                    Step::Release(at) if !users.is_empty() => {
                        let (id, _) = users.swap_remove(at % users.len());
                        policies.release(id);
                    }
                    Step::Exchange(at, number) if !users.is_empty() => {
                        let at = at % users.len();
                        let id = policies.exchange(users[at].0, policy(number));
                        users[at] = (id.expect("there is room"), number);
                    }
                    Step::Retain(_) | Step::Release(_) | Step::Exchange(..) => {}
                }
                for (id, number) in &users {
                    prop_assert_eq!(policies.get(*id), &policy(*number), "of {:?}", id);
                }
                let mut pairs: Vec<_> = users.iter().map(|(id, number)| (id.0, *number)).collect();
                pairs.sort_unstable();
                pairs.dedup();
                prop_assert_eq!(policies.len(), pairs.len(), "one number for each: {:?}", pairs);
                most = most.max(pairs.len());
                prop_assert!(policies.slots.len() <= most, "free numbers come first");
            }
            for (id, _) in users.drain(..) {
                policies.release(id);
            }
            prop_assert_eq!(policies.len(), 0);
            prop_assert_eq!(policies.free.len(), policies.slots.len());
        }
    }

    #[test]
    fn there_are_65_536_at_once_and_one_more_changes_nothing() {
        let (mut policies, ids) = full_of(65_536);
        let error = policies
            .intern(policy(65_536))
            .expect_err("there is no room");
        assert_eq!(error.field(), "heartbeat");
        assert_eq!(error.reason(), "is one of more than 65536 different ones");
        assert_eq!(policies.len(), 65_536);
        for (number, id) in (0..).zip(&ids) {
            assert_eq!(policies.get(*id), &policy(number));
        }
        let known = policies.intern(policy(7)).expect("it is known");
        assert_eq!(known, ids[7]);
        let shared = policies.exchange(known, policy(65_536));
        shared.expect_err("somebody else uses it still");
        assert_eq!(policies.get(known), &policy(7));
        policies.release(known);
        policies.release(ids[9]);
        let id = policies.intern(policy(65_536)).expect("there is room now");
        assert_eq!(id, ids[9]);
    }

    #[test]
    fn the_only_user_of_a_policy_changes_it_where_there_is_no_room_for_more() {
        let (mut policies, ids) = full_of(65_536);
        let id = policies
            .exchange(ids[3], policy(65_536))
            .expect("its own room");
        assert_eq!(id, ids[3]);
        assert_eq!(policies.get(id), &policy(65_536));
        let id = policies.exchange(id, policy(5)).expect("it is known");
        assert_eq!((id, policies.len()), (ids[5], 65_535));
    }

    #[test]
    fn a_count_at_its_end_keeps_the_policy_for_good() {
        let mut policies = Policies::default();
        let id = policies.intern(policy(0)).expect("the first");
        policies.slot(id).users = u32::MAX - 1;
        policies.retain(id);
        policies.retain(id);
        policies.release(id);
        assert_eq!(policies.slot(id).users, u32::MAX);
        assert_eq!(policies.get(id), &policy(0));
    }
}
