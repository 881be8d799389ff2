//! Who is let in: limits on connections and handshakes, in all and for each address.
//!
//! An address is an IPv4 address or the /64 prefix of an IPv6 one, since whoever has one address of
//! such a prefix usually has them all. Only addresses with something to count are in the table.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use super::token::ConnId;
use crate::config::AdmissionConfig;
use crate::error::ConfigError;
use crate::proto::time::{Fine, Micros};

/// Limits of one listener, parsed.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    half_open: Option<u16>,
    share: Option<Share>,
    open: Option<u32>,
    rate: Option<Rate>,
    total_rate: Option<Rate>,
    limits_loopback: bool,
}

impl TryFrom<&AdmissionConfig> for Admission {
    type Error = ConfigError;

    fn try_from(config: &AdmissionConfig) -> Result<Self, ConfigError> {
        for (field, limit) in [
            ("half_open_per_address", config.half_open_per_address),
            ("open_per_address", config.open_per_address),
        ] {
            if limit == Some(0) {
                return Err(ConfigError::new(field, "must not be zero"));
            }
        }
        let half_open = config.half_open_per_address.map(u16::try_from).transpose();
        let half_open = half_open.map_err(|_| {
            ConfigError::new("half_open_per_address", "must be at most 65535, or off")
        })?;
        let share = config.share_per_address.map(Share::new).transpose()?;
        Ok(Self {
            half_open,
            share,
            open: config.open_per_address,
            rate: Rate::new("handshakes_per_address", config.handshakes_per_address)?,
            total_rate: Rate::new("handshakes_per_second", config.handshakes_per_second)?,
            limits_loopback: config.limit_loopback,
        })
    }
}

impl Admission {
    /// Judges a connection that has just arrived; `paid` is the record of the listener's rate.
    pub(super) fn judge(
        &self,
        ip: IpAddr,
        now: Micros,
        addresses: &mut Addresses,
        paid: &mut Micros,
        room: Room,
    ) -> Result<(), Refusal> {
        let Tally {
            open, half_open, ..
        } = addresses.tallies.of(ip.into());
        // More than can be counted.
        if half_open == u16::MAX {
            return Err(Refusal::HalfOpen);
        }
        if self.share.is_some_and(|share| !share.allows(open, room)) {
            return Err(Refusal::Share);
        }
        if self.limits(ip) {
            if self.open.is_some_and(|limit| open >= limit) {
                return Err(Refusal::Open);
            }
            if let Some(rate) = self.rate {
                addresses.pay(ip, now, rate)?;
            }
        }
        match self.total_rate {
            Some(rate) if !rate.take(paid, now) => Err(Refusal::Rate),
            Some(_) | None => Ok(()),
        }
    }

    /// Says whether connections of this address are counted.
    pub(super) fn counts(&self, ip: IpAddr) -> bool {
        self.share.is_some() || self.limits(ip)
    }

    /// Says whether so many and so many a second may come from this address.
    fn limits(&self, ip: IpAddr) -> bool {
        let limited = self.open.is_some() || self.rate.is_some();
        limited && (self.limits_loopback || !ip.is_loopback())
    }

    /// Says whether an address has more half-open connections than it may.
    pub(super) fn is_crowded(&self, ip: IpAddr, addresses: &Addresses) -> bool {
        let half_open = addresses.tallies.of(ip.into()).half_open;
        self.half_open.is_some_and(|limit| half_open > limit)
    }

    /// Says whether opening handshakes are counted.
    pub(super) fn counts_half_open(&self) -> bool {
        self.half_open.is_some()
    }
}

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    pub(super) all: usize,
    /// Places that nobody has, the one that is asked for among them.
    pub(super) left: usize,
}

/// What one address may hold: so many times what it leaves. However many addresses take all that they
/// may, there is something left for one more; and the decision needs two counts.
#[derive(Clone, Copy, Debug)]
struct Share {
    percent: u64,
}

impl Share {
    fn new(percent: u32) -> Result<Self, ConfigError> {
        match percent {
            1..=99 => Ok(Self {
                percent: percent.into(),
            }),
            _ => Err(ConfigError::new(
                "share_per_address",
                "must be from 1 to 99 percent, or off",
            )),
        }
    }

    /// Says whether an address that has so many may have one more.
    fn allows(self, held: u32, room: Room) -> bool {
        let held = u64::from(held) * (100 - self.percent);
        room.all < LEAST_SHARED || held < room.left as u64 * self.percent
    }
}

/// A room for fewer is for few, and not shared out.
const LEAST_SHARED: usize = 128;

/// Half-open connections of this loop by address, the oldest of each first. Only while they are half-open:
/// who is open takes no room here.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    queues: HashMap<Source, Queue>,
}

/// Those who left are still in it until they are come across, or are too many.
#[derive(Debug, Default)]
struct Queue {
    ids: VecDeque<ConnId>,
    /// How many have not left.
    count: usize,
}

impl Waiting {
    /// Takes a connection in, behind the others of its address.
    pub(super) fn enter(&mut self, ip: IpAddr, id: ConnId) {
        let queue = self.queues.entry(ip.into()).or_default();
        queue.ids.push_back(id);
        queue.count += 1;
    }

    /// Lets one of an address go; `waits` says of each whether it is still half-open.
    pub(super) fn leave(&mut self, ip: IpAddr, waits: impl Fn(ConnId) -> bool) {
        let source = Source::from(ip);
        let Some(queue) = self.queues.get_mut(&source) else {
            return;
        };
        queue.count -= 1;
        if queue.count == 0 {
            self.queues.remove(&source);
        } else if queue.ids.len() > 2 * queue.count + FEW_LEFT {
            queue.ids.retain(|&id| waits(id));
            queue.ids.shrink_to(4 * queue.count);
        }
    }

    /// Returns the oldest of an address that is still half-open.
    pub(super) fn oldest(&mut self, ip: IpAddr, waits: impl Fn(ConnId) -> bool) -> Option<ConnId> {
        let queue = self.queues.get_mut(&ip.into())?;
        while let Some(&id) = queue.ids.front() {
            if waits(id) {
                return Some(id);
            }
            queue.ids.pop_front();
        }
        None
    }
}

/// So many that have left are not worth looking for.
const FEW_LEFT: usize = 16;

/// Until when the new connections of each listener so far are paid for.
#[derive(Debug, Default)]
pub(super) struct Rates(Vec<Micros>);

impl Rates {
    /// Returns the record of the listener of that number.
    pub(super) fn of(&mut self, listener: usize) -> &mut Micros {
        if self.0.len() <= listener {
            self.0.resize(listener + 1, Micros::ZERO);
        }
        &mut self.0[listener]
    }
}

/// Connections by the address they come from.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    tallies: Tallies,
    /// Addresses with no connection left whose rate is not yet paid for, and when it will be. An entry
    /// whose time is no longer the tally's is stale: whoever moved that time on has left another.
    lingering: VecDeque<(Micros, Source)>,
}

impl Addresses {
    /// Returns how many connections of an address are counted.
    pub(super) fn held(&self, ip: IpAddr) -> u32 {
        self.tallies.of(ip.into()).open
    }

    /// Counts a connection in.
    pub(super) fn enter(&mut self, ip: IpAddr, now: Micros, counted: bool, half_open: bool) {
        if counted || half_open {
            let tally = self.tallies.of_mut(ip.into(), now);
            tally.open += u32::from(counted);
            tally.half_open += u16::from(half_open);
        }
    }

    /// Counts a connection out of the handshakes of its address.
    pub(super) fn leave_half_open(&mut self, ip: IpAddr, now: Micros) {
        self.leave(ip, now, |tally| tally.half_open -= 1);
    }

    /// Counts a connection out.
    pub(super) fn leave_open(&mut self, ip: IpAddr, now: Micros) {
        self.leave(ip, now, |tally| tally.open -= 1);
    }

    fn leave(&mut self, ip: IpAddr, now: Micros, count: impl FnOnce(&mut Tally)) {
        let source = Source::from(ip);
        if let Some(tally) = self.tallies.get_mut(&source) {
            count(tally);
        }
        self.forget(source, now);
    }

    /// Takes one handshake of an address from its rate.
    fn pay(&mut self, ip: IpAddr, now: Micros, rate: Rate) -> Result<(), Refusal> {
        self.sweep(now);
        let source = Source::from(ip);
        let tally = self.tallies.of_mut(source, now);
        let mut paid = tally.paid_until(now);
        let is_paid = rate.take(&mut paid, now);
        tally.paid = Fine::new(paid);
        if is_paid && tally.is_empty() {
            self.lingering.push_back((paid, source));
        }
        match is_paid {
            true => Ok(()),
            false => Err(Refusal::AddressRate),
        }
    }

    /// Lets an address go that has nothing left to count.
    fn forget(&mut self, source: Source, now: Micros) {
        if let Some(due) = self.unpaid(source, now) {
            self.lingering.push_back((due, source));
        }
    }

    /// Looks again at those whose time has come, at a bounded number of them. None is put back, so that
    /// the table holds what came within the last seconds however long a flood lasts; and when it is over
    /// the room it took is given back.
    fn sweep(&mut self, now: Micros) {
        for _ in 0..SWEPT {
            let due = self.lingering.front().filter(|(due, _)| *due <= now);
            let Some(&(_, source)) = due else { break };
            self.lingering.pop_front();
            self.unpaid(source, now);
        }
        if self.lingering.len() < self.lingering.capacity() / 8 {
            self.lingering.shrink_to(self.lingering.len() * 2);
        }
    }

    /// Removes an address that has nothing left to count, or returns when it can be removed.
    fn unpaid(&mut self, source: Source, now: Micros) -> Option<Micros> {
        let tally = self
            .tallies
            .get_mut(&source)
            .filter(|tally| tally.is_empty())?;
        let paid = tally.paid_until(now);
        if paid > now {
            return Some(paid);
        }
        self.tallies.remove(source);
        None
    }
}

/// The tallies in many small tables instead of a large one: a table that grows is copied as a whole, and
/// meanwhile there are both.
#[derive(Debug)]
struct Tallies {
    shards: Box<[HashMap<Source, Tally>]>,
    chooser: RandomState,
}

impl Default for Tallies {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| HashMap::new()).collect(),
            chooser: RandomState::new(),
        }
    }
}

impl Tallies {
    /// Returns what is counted for an address.
    fn of(&self, source: Source) -> Tally {
        let shard = &self.shards[self.shard_of(source)];
        shard.get(&source).copied().unwrap_or_default()
    }

    /// Returns what is counted for an address, to count on. Whoever is new has paid.
    fn of_mut(&mut self, source: Source, now: Micros) -> &mut Tally {
        let shard = self.shard_of(source);
        self.shards[shard].entry(source).or_insert_with(|| Tally {
            paid: Fine::new(now),
            ..Tally::default()
        })
    }

    /// Returns what is counted for an address if anything is.
    fn get_mut(&mut self, source: &Source) -> Option<&mut Tally> {
        let shard = self.shard_of(*source);
        self.shards[shard].get_mut(source)
    }

    /// Forgets an address, and gives the room back that a flood of them has left behind.
    fn remove(&mut self, source: Source) {
        let shard = self.shard_of(source);
        let shard = &mut self.shards[shard];
        shard.remove(&source);
        if shard.len() < shard.capacity() / 8 {
            shard.shrink_to(shard.len() * 2);
        }
    }

    /// Spread by a hash that nobody outside can foretell.
    fn shard_of(&self, source: Source) -> usize {
        self.chooser.hash_one(source) as usize % SHARDS
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.shards.iter().map(HashMap::len).sum()
    }
}

/// An IPv4 address, or the upper half of an IPv6 one. The upper half of a real IPv6 address is never
/// below 2^32, but for the loopback's, which is zero: accepting has made IPv4 of what is mapped into IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Source([u32; 2]);

impl From<u64> for Source {
    fn from(bits: u64) -> Self {
        Self([(bits >> 32) as u32, bits as u32])
    }
}

impl From<IpAddr> for Source {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => u64::from(ip.to_bits()).into(),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, f, g, h, ..] = ip.octets();
                u64::from_be_bytes([a, b, c, d, e, f, g, h]).into()
            }
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    open: u32,
    half_open: u16,
    /// Until when its handshakes so far are paid for.
    paid: Fine,
}

impl Tally {
    /// Returns until when its handshakes so far are paid for: `now`, if they are.
    fn paid_until(&self, now: Micros) -> Micros {
        now + self.paid.left(now, AHEAD).unwrap_or(Micros::ZERO)
    }

    fn is_empty(&self) -> bool {
        self.open == 0 && self.half_open == 0
    }
}

/// So many a second, one second's worth at once. (A leaky bucket kept as a single time: the generic
/// cell rate algorithm, ITU-T I.371.)
#[derive(Clone, Copy, Debug)]
struct Rate {
    cost: Micros,
}

impl Rate {
    fn new(field: &'static str, per_second: Option<u32>) -> Result<Option<Self>, ConfigError> {
        match per_second {
            None => Ok(None),
            Some(rate @ 1..=1_000_000) => Ok(Some(Self {
                cost: Micros::new(1_000_000 / u64::from(rate)),
            })),
            Some(_) => Err(ConfigError::new(field, "must be from 1 to 1000000")),
        }
    }

    /// Takes one from the rate, if there is one left.
    fn take(self, paid: &mut Micros, now: Micros) -> bool {
        let after = now.max(*paid) + self.cost;
        if after > now + BURST {
            return false;
        }
        *paid = after;
        true
    }
}

/// Which limit of ours turns a connection away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Draining,
    Full,
    Rate,
    HalfOpen,
    Open,
    Share,
    AddressRate,
}

impl Refusal {
    /// Returns the status that tells a WebSocket client: 429 where the fault is its own.
    #[cfg(feature = "websocket")]
    pub(super) const fn status(self) -> u16 {
        match self {
            Self::Draining | Self::Full | Self::Rate => 503,
            Self::HalfOpen | Self::Open | Self::Share | Self::AddressRate => 429,
        }
    }

    /// Returns the reason in words.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::Draining => "going away",
            Self::Full => "too many connections",
            Self::Rate => "too many new connections at once",
            Self::HalfOpen => "too many handshakes from your address: the oldest makes way",
            Self::Open => "too many connections from your address",
            Self::Share => "too many connections from your address: others need room",
            Self::AddressRate => "too many new connections at once from your address",
        }
    }
}

/// Tables that the addresses are spread over.
const SHARDS: usize = 64;

/// Addresses looked at again when one comes, which leaves at most two to look at.
const SWEPT: usize = 1_024;

/// How far ahead of its rate an address may be.
const BURST: Micros = Micros::from_secs(1);

/// What lies ahead by more is past. Much more than a burst: another loop, which has read the clock later,
/// may have been paid.
const AHEAD: Micros = Micros::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sizes::sizes;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    const ROOMY: Room = Room {
        all: 1_000_000,
        left: 1_000_000,
    };

    fn admission(config: AdmissionConfig) -> Admission {
        Admission::try_from(&config).unwrap()
    }

    fn millis(millis: u64) -> Micros {
        Micros::from_millis(millis)
    }

    /// Judges a connection, and counts it in if it may come in.
    fn arrive(
        admission: &Admission,
        addresses: &mut Addresses,
        ip: IpAddr,
        now: Micros,
    ) -> Result<(), Refusal> {
        admission.judge(ip, now, addresses, &mut Micros::ZERO.clone(), ROOMY)?;
        addresses.enter(ip, now, admission.counts(ip), false);
        Ok(())
    }

    #[test]
    fn an_address_may_hold_so_many_connections_and_another_as_many() {
        let admission = admission(AdmissionConfig {
            open_per_address: Some(2),
            ..AdmissionConfig::default()
        });
        let mut addresses = Addresses::default();
        let now = millis(5);
        for _ in 0..2 {
            assert_eq!(arrive(&admission, &mut addresses, PEER, now), Ok(()));
        }
        let refused = Err(Refusal::Open);
        assert_eq!(arrive(&admission, &mut addresses, PEER, now), refused);
        let other = IpAddr::from([192, 0, 2, 2]);
        assert_eq!(arrive(&admission, &mut addresses, other, now), Ok(()));
        addresses.leave_open(PEER, now);
        assert_eq!(arrive(&admission, &mut addresses, PEER, now), Ok(()));
    }

    #[test]
    fn loopback_is_exempt_unless_it_is_not() {
        for limit_loopback in [false, true] {
            let admission = admission(AdmissionConfig {
                open_per_address: Some(1),
                limit_loopback,
                ..AdmissionConfig::default()
            });
            let mut addresses = Addresses::default();
            for ip in [LOOPBACK, "::1".parse().unwrap()] {
                arrive(&admission, &mut addresses, ip, millis(1)).ok();
                let second = arrive(&admission, &mut addresses, ip, millis(1));
                assert_eq!(second.is_err(), limit_loopback, "{ip}");
            }
        }
    }

    /// Fills a room from these many addresses in turn, and returns what each of them holds.
    fn fill(all: usize, addresses: u8) -> Vec<usize> {
        let admission = admission(AdmissionConfig::default());
        let (mut counts, mut held) = (Addresses::default(), vec![0; addresses.into()]);
        let mut is_full = false;
        while !is_full {
            is_full = true;
            for last in 0..addresses {
                let ip = IpAddr::from([127, 0, 1, last]);
                let room = Room {
                    all,
                    left: all - held.iter().sum::<usize>(),
                };
                let paid = &mut Micros::ZERO.clone();
                if room.left > 0
                    && admission
                        .judge(ip, millis(1), &mut counts, paid, room)
                        .is_ok()
                {
                    assert!(admission.counts(ip));
                    counts.enter(ip, Micros::ZERO, true, false);
                    held[usize::from(last)] += 1;
                    is_full = false;
                }
            }
        }
        held
    }

    #[test]
    fn an_address_holds_a_share_of_the_room_however_large_and_others_find_some() {
        assert_eq!(fill(4_000, 1), [3_760]);
        assert_eq!(fill(100_000, 1), [94_000]);
        let two = fill(4_000, 2);
        assert!(
            two.iter().all(|held| (1_937..=1_940).contains(held)),
            "{two:?}"
        );
        let ten = fill(4_000, 10);
        assert!(ten.iter().sum::<usize>() < 4_000 - 20, "{ten:?}");
        // One that is for few is not shared out.
        assert_eq!(fill(127, 1), [127]);
        assert_eq!(fill(128, 1), [121]);
    }

    #[test]
    fn the_oldest_of_an_address_is_found_and_who_left_is_forgotten() {
        use crate::event_loop::token::Names;
        use crate::proto::heartbeat::PingPhase;

        let names = Names {
            shard: 0,
            start: PingPhase::ZERO,
        };
        let ids: Vec<_> = (0..1_000)
            .map(|slot| names.of(slot, PingPhase::ZERO))
            .collect();
        let mut waiting = Waiting::default();
        waiting.enter(LOOPBACK, ids[0]);
        assert_eq!(waiting.oldest(PEER, |_| true), None);
        for &id in &ids {
            waiting.enter(PEER, id);
        }
        assert_eq!(waiting.oldest(PEER, |_| true), Some(ids[0]));
        // All but the first and the last leave, in any order.
        let waits = |id| id == ids[0] || id == ids[999];
        for _ in 1..999 {
            waiting.leave(PEER, waits);
        }
        assert!(waiting.queues[&PEER.into()].ids.len() <= 2 * 2 + FEW_LEFT);
        assert_eq!(waiting.oldest(PEER, |id| id == ids[999]), Some(ids[999]));
        waiting.leave(PEER, |id| id == ids[999]);
        waiting.leave(PEER, |_| false);
        waiting.leave(LOOPBACK, |_| false);
        assert!(waiting.queues.is_empty());
    }

    #[test]
    fn a_prefix_of_64_bits_is_one_address() {
        let [first, second, other] = ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"]
            .map(|ip| Source::from(ip.parse::<IpAddr>().unwrap()));
        assert_eq!(first, second);
        assert_ne!(first, other);
    }

    #[test]
    fn a_second_of_the_rate_passes_at_once_and_then_its_pace() {
        let admission = admission(AdmissionConfig {
            handshakes_per_address: Some(100),
            ..AdmissionConfig::default()
        });
        let mut addresses = Addresses::default();
        let start = Micros::from_secs(7);
        for _ in 0..100 {
            assert_eq!(arrive(&admission, &mut addresses, PEER, start), Ok(()));
        }
        let refused = Err(Refusal::AddressRate);
        assert_eq!(arrive(&admission, &mut addresses, PEER, start), refused);
        let later = start + millis(9);
        assert_eq!(arrive(&admission, &mut addresses, PEER, later), refused);
        let later = start + millis(10);
        assert_eq!(arrive(&admission, &mut addresses, PEER, later), Ok(()));
        assert_eq!(arrive(&admission, &mut addresses, PEER, later), refused);
    }

    #[test]
    fn what_a_loop_ahead_of_this_one_was_paid_counts() {
        let admission = admission(AdmissionConfig {
            handshakes_per_address: Some(10),
            ..AdmissionConfig::default()
        });
        let mut addresses = Addresses::default();
        let ahead = Micros::from_secs(7);
        for _ in 0..10 {
            assert_eq!(arrive(&admission, &mut addresses, PEER, ahead), Ok(()));
        }
        let refused = Err(Refusal::AddressRate);
        for behind in [1, 20, 2_000] {
            let now = ahead - millis(behind);
            assert_eq!(arrive(&admission, &mut addresses, PEER, now), refused);
        }
    }

    #[test]
    fn all_addresses_together_have_a_rate_too() {
        let admission = admission(AdmissionConfig {
            handshakes_per_second: Some(2),
            ..AdmissionConfig::default()
        });
        let (mut addresses, mut paid) = (Addresses::default(), Micros::ZERO);
        let mut judge = |last, now| {
            let ip = IpAddr::from([192, 0, 2, last]);
            admission.judge(ip, now, &mut addresses, &mut paid, ROOMY)
        };
        let start = Micros::from_secs(1);
        assert_eq!(judge(1, start), Ok(()));
        assert_eq!(judge(2, start), Ok(()));
        assert_eq!(judge(3, start), Err(Refusal::Rate));
        assert_eq!(judge(3, start + millis(500)), Ok(()));
    }

    #[test]
    fn addresses_that_are_gone_are_forgotten_once_they_are_paid_for() {
        let admission = admission(AdmissionConfig {
            handshakes_per_address: Some(10),
            ..AdmissionConfig::default()
        });
        let mut addresses = Addresses::default();
        for last in 0..=255 {
            let ip = IpAddr::from([198, 51, 100, last]);
            assert_eq!(arrive(&admission, &mut addresses, ip, millis(1)), Ok(()));
            addresses.leave_open(ip, millis(2));
        }
        assert_eq!(addresses.tallies.len(), 256, "each has 100 ms to pay for");
        assert_eq!(
            arrive(&admission, &mut addresses, PEER, millis(200)),
            Ok(())
        );
        assert_eq!(addresses.tallies.len(), 1);
        addresses.leave_open(PEER, millis(400));
        assert_eq!(addresses.tallies.len(), 0);
    }

    #[test]
    fn a_flood_at_the_rate_leaves_no_more_to_look_at_than_its_last_seconds() {
        let admission = admission(AdmissionConfig {
            handshakes_per_address: Some(100),
            ..AdmissionConfig::default()
        });
        let mut addresses = Addresses::default();
        for tenth in 1..=600 {
            let now = millis(100 * tenth);
            while arrive(&admission, &mut addresses, PEER, now).is_ok() {
                addresses.leave_open(PEER, now);
            }
            let lingering = addresses.lingering.len();
            assert!(lingering <= 600, "{lingering} after {now:?}");
        }
        let later = Micros::from_secs(90);
        let other = IpAddr::from([192, 0, 2, 2]);
        assert_eq!(arrive(&admission, &mut addresses, other, later), Ok(()));
        assert_eq!(addresses.tallies.len(), 1, "the flood is forgotten");
        assert_eq!(addresses.lingering.len(), 1);
    }

    #[test]
    fn a_flood_of_addresses_is_forgotten_little_by_little_and_its_room_given_back() {
        let admission = admission(AdmissionConfig {
            handshakes_per_address: Some(1_000),
            ..AdmissionConfig::default()
        });
        let mut addresses = Addresses::default();
        for number in 0..20_000 {
            let ip = IpAddr::from(u32::to_be_bytes(number));
            assert_eq!(arrive(&admission, &mut addresses, ip, millis(1)), Ok(()));
            addresses.leave_open(ip, millis(1));
        }
        let (flood, later) = (addresses.tallies.len(), millis(3));
        assert_eq!(arrive(&admission, &mut addresses, PEER, later), Ok(()));
        let left = addresses.tallies.len();
        assert!(left > flood - 2 * SWEPT, "{left} of {flood} are left");
        for _ in 0..100 {
            addresses.leave_open(PEER, later);
            assert_eq!(arrive(&admission, &mut addresses, PEER, later), Ok(()));
        }
        assert_eq!(addresses.tallies.len(), 1, "the flood is forgotten");
        let places = addresses.lingering.capacity();
        assert!(places < 2_000, "{places}");
    }

    #[test]
    fn an_address_that_was_only_refused_is_forgotten_too() {
        let admission = admission(AdmissionConfig {
            handshakes_per_address: Some(1),
            handshakes_per_second: Some(1),
            ..AdmissionConfig::default()
        });
        let (mut addresses, mut paid) = (Addresses::default(), Micros::ZERO);
        for last in 0..=255 {
            let ip = IpAddr::from([198, 51, 100, last]);
            admission
                .judge(ip, millis(1), &mut addresses, &mut paid, ROOMY)
                .ok();
        }
        let later = Micros::from_secs(3);
        admission
            .judge(PEER, later, &mut addresses, &mut paid, ROOMY)
            .unwrap();
        assert_eq!(addresses.tallies.len(), 1);
    }

    #[test]
    fn limits_of_zero_and_rates_out_of_range_are_refused_by_name() {
        let default = AdmissionConfig::default;
        for (field, config) in [
            (
                "share_per_address",
                AdmissionConfig {
                    share_per_address: Some(100),
                    ..default()
                },
            ),
            (
                "half_open_per_address",
                AdmissionConfig {
                    half_open_per_address: Some(0),
                    ..default()
                },
            ),
            (
                "open_per_address",
                AdmissionConfig {
                    open_per_address: Some(0),
                    ..default()
                },
            ),
            (
                "handshakes_per_address",
                AdmissionConfig {
                    handshakes_per_address: Some(0),
                    ..default()
                },
            ),
            (
                "handshakes_per_second",
                AdmissionConfig {
                    handshakes_per_second: Some(1_000_001),
                    ..default()
                },
            ),
        ] {
            assert_eq!(Admission::try_from(&config).unwrap_err().field(), field);
        }
    }

    #[test]
    fn an_address_takes_at_most_48_bytes() {
        let mut addresses = Addresses::default();
        let tally = *addresses.tallies.of_mut(PEER.into(), Micros::ZERO);
        let fields = sizes!(&tally => Tally { open, half_open, paid });
        let sum: usize = fields.iter().map(|(_, size)| size).sum();
        let entry = size_of::<(Source, Tally)>();
        assert_eq!(entry, size_of::<Source>() + sum, "{fields:?}");
        // Whether the tables have just grown or are about to.
        for count in (10_000..40_000).step_by(1_500) {
            let mut addresses = Addresses::default();
            let memory = allocation_counter::measure(|| {
                for number in 0..count {
                    addresses.enter(
                        IpAddr::from(u32::to_be_bytes(number)),
                        Micros::ZERO,
                        true,
                        false,
                    );
                }
            });
            let bytes = memory.bytes_current.unsigned_abs();
            assert!(bytes <= 48 * u64::from(count), "{bytes} for {count}");
            let jump = memory.bytes_max.saturating_sub(bytes) * 100 / bytes;
            assert!(jump <= 10, "{jump} % more while growing to {count}");
        }
    }

    #[test]
    fn a_table_grows_by_a_small_part_and_shrinks_when_a_flood_is_over() {
        let mut addresses = Addresses::default();
        let source = |number: u32| IpAddr::from(number.to_be_bytes());
        let places = |addresses: &Addresses| -> usize {
            let shards = addresses.tallies.shards.iter();
            shards.map(HashMap::capacity).sum()
        };
        let (mut before, mut jump) = (0, 0);
        for number in 0..200_000 {
            addresses.enter(source(number), Micros::ZERO, true, false);
            let after = places(&addresses);
            if number > 50_000 {
                jump = jump.max((after - before) * 100 / before);
            }
            before = after;
        }
        assert!(jump <= 3, "{jump} % at once");
        for number in 0..200_000 {
            addresses.leave_open(source(number), millis(1));
        }
        assert_eq!(addresses.tallies.len(), 0);
        assert!(places(&addresses) <= 64 * 8, "{}", places(&addresses));
    }

    #[test]
    fn more_half_open_connections_than_are_counted_are_refused_by_name() {
        let with = |limit| AdmissionConfig {
            half_open_per_address: Some(limit),
            ..AdmissionConfig::default()
        };
        assert!(Admission::try_from(&with(65_535)).is_ok());
        let error = Admission::try_from(&with(65_536)).unwrap_err();
        assert_eq!(error.field(), "half_open_per_address");
    }
}
