//! Connections by the address they come from.

//!
//! An address is an IPv4 address or the /64 prefix of an IPv6 one, since whoever has one address of
//! such a prefix usually has them all. Only addresses with something to count are in the table.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use super::rates::Rate;
use super::refusal::Refusal;
use crate::proto::time::{Fine, Micros};

/// Connections by the address they come from.
#[derive(Debug, Default)]
pub(in crate::event_loop) struct Addresses {
    tallies: Tallies,
    /// Addresses with no connection left whose rate is not yet paid for, and when it will be. An entry
    /// whose time is no longer the tally's is stale: whoever moved that time on has left another.
    lingering: VecDeque<(Micros, Source)>,
}

impl Addresses {
    /// Returns what is counted for an address.
    pub(super) fn tally(&self, ip: IpAddr) -> Tally {
        self.tallies.of(ip.into())
    }

    /// Counts a connection in.
    pub(in crate::event_loop) fn enter(
        &mut self,
        ip: IpAddr,
        now: Micros,
        counted: bool,
        half_open: bool,
    ) {
        if counted || half_open {
            let tally = self.tallies.of_mut(ip.into(), now);
            tally.open += u32::from(counted);
            tally.half_open += u16::from(half_open);
        }
    }

    /// Counts a connection as half-open that was counted in before. Returns whether it can be counted.
    pub(super) fn enter_half_open(&mut self, ip: IpAddr, now: Micros) -> bool {
        let has_room = self.tally(ip).half_open < u16::MAX;
        self.enter(ip, now, false, has_room);
        has_room
    }

    /// Removes a connection from the handshakes of its address.
    pub(in crate::event_loop) fn leave_half_open(&mut self, ip: IpAddr, now: Micros) {
        self.leave(ip, now, |tally| tally.half_open -= 1);
    }

    /// Removes a connection from the count.
    pub(in crate::event_loop) fn leave_open(&mut self, ip: IpAddr, now: Micros) {
        self.leave(ip, now, |tally| tally.open -= 1);
    }

    fn leave(&mut self, ip: IpAddr, now: Micros, count: impl FnOnce(&mut Tally)) {
        let source = Source::from(ip);
        if let Some(tally) = self.tallies.get_mut(&source) {
            count(tally);
        }
        self.forget(source, now);
    }

    /// Takes one handshake from the rate of an address.
    pub(super) fn pay(&mut self, ip: IpAddr, now: Micros, rate: Rate) -> Result<(), Refusal> {
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

    /// Removes an address if there is nothing left to count.
    fn forget(&mut self, source: Source, now: Micros) {
        if let Some(due) = self.unpaid(source, now) {
            self.lingering.push_back((due, source));
        }
    }

    /// Looks again at addresses whose time has come, at a limited number of them. None is put back.
    /// So the table holds only what came within the last seconds, however long a flood lasts, and
    /// afterwards its memory is freed.
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

    /// Chooses a table by a hash that nobody outside can predict.
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
pub(super) struct Source([u32; 2]);

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
pub(super) struct Tally {
    pub(super) open: u32,
    pub(super) half_open: u16,
    /// Theoretical arrival time (GCRA) of its next handshake.
    paid: Fine,
}

impl Tally {
    /// Returns the theoretical arrival time of its next handshake, at least `now`.
    fn paid_until(&self, now: Micros) -> Micros {
        now + self.paid.left(now, AHEAD).unwrap_or(Micros::ZERO)
    }

    fn is_empty(&self) -> bool {
        self.open == 0 && self.half_open == 0
    }
}

/// Tables that the addresses are spread over.
const SHARDS: usize = 64;

/// Addresses looked at again when one comes, which leaves at most two to look at.
const SWEPT: usize = 1_024;

/// A time that is further ahead than this is a past one. It is much more than a burst, because
/// another loop may have read the clock later.
const AHEAD: Micros = Micros::from_secs(60 * 60);

#[cfg(test)]
mod tests {
    use super::super::admission::{Admission, Room};
    use super::*;
    use crate::config::AdmissionConfig;
    use crate::sizes::sizes;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn millis(millis: u64) -> Micros {
        Micros::from_millis(millis)
    }

    fn rate(per_second: u32) -> Rate {
        let rate = Rate::new("handshakes_per_address", Some(per_second));
        rate.expect("it is in range").expect("it is on")
    }

    /// Takes a connection in, if its address has paid for it.
    fn arrive(
        rate: Rate,
        addresses: &mut Addresses,
        ip: IpAddr,
        now: Micros,
    ) -> Result<(), Refusal> {
        addresses.pay(ip, now, rate)?;
        addresses.enter(ip, now, true, false);
        Ok(())
    }

    #[test]
    fn a_prefix_of_64_bits_is_one_address() {
        let [first, second, other] = ["2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:1::1"]
            .map(|ip| Source::from(ip.parse::<IpAddr>().unwrap()));
        assert_eq!(first, second);
        assert_ne!(first, other);
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
    fn addresses_that_are_gone_are_forgotten_once_they_are_paid_for() {
        let rate = rate(10);
        let mut addresses = Addresses::default();
        for last in 0..=255 {
            let ip = IpAddr::from([198, 51, 100, last]);
            assert_eq!(arrive(rate, &mut addresses, ip, millis(1)), Ok(()));
            addresses.leave_open(ip, millis(2));
        }
        assert_eq!(addresses.tallies.len(), 256, "each has 100 ms to pay for");
        assert_eq!(arrive(rate, &mut addresses, PEER, millis(200)), Ok(()));
        assert_eq!(addresses.tallies.len(), 1);
        addresses.leave_open(PEER, millis(400));
        assert_eq!(addresses.tallies.len(), 0);
    }

    #[test]
    fn a_flood_at_the_rate_leaves_no_more_to_look_at_than_its_last_seconds() {
        let rate = rate(100);
        let mut addresses = Addresses::default();
        for tenth in 1..=600 {
            let now = millis(100 * tenth);
            while arrive(rate, &mut addresses, PEER, now).is_ok() {
                addresses.leave_open(PEER, now);
            }
            let lingering = addresses.lingering.len();
            assert!(lingering <= 600, "{lingering} after {now:?}");
        }
        let later = Micros::from_secs(90);
        let other = IpAddr::from([192, 0, 2, 2]);
        assert_eq!(arrive(rate, &mut addresses, other, later), Ok(()));
        assert_eq!(addresses.tallies.len(), 1, "the flood is forgotten");
        assert_eq!(addresses.lingering.len(), 1);
    }

    #[test]
    fn a_flood_of_addresses_is_forgotten_little_by_little_and_its_room_given_back() {
        let rate = rate(1_000);
        let mut addresses = Addresses::default();
        for number in 0..20_000 {
            let ip = IpAddr::from(u32::to_be_bytes(number));
            assert_eq!(arrive(rate, &mut addresses, ip, millis(1)), Ok(()));
            addresses.leave_open(ip, millis(1));
        }
        let (flood, later) = (addresses.tallies.len(), millis(3));
        assert_eq!(arrive(rate, &mut addresses, PEER, later), Ok(()));
        let left = addresses.tallies.len();
        assert!(left > flood - 2 * SWEPT, "{left} of {flood} are left");
        for _ in 0..100 {
            addresses.leave_open(PEER, later);
            assert_eq!(arrive(rate, &mut addresses, PEER, later), Ok(()));
        }
        assert_eq!(addresses.tallies.len(), 1, "the flood is forgotten");
        let places = addresses.lingering.capacity();
        assert!(places < 2_000, "{places}");
    }

    #[test]
    fn an_address_that_was_only_refused_is_forgotten_too() {
        let admission = Admission::try_from(&AdmissionConfig {
            handshakes_per_address: Some(1),
            handshakes_per_second: Some(1),
            ..AdmissionConfig::default()
        })
        .unwrap();
        let room = Room {
            all: 100,
            left: 100,
        };
        let (mut addresses, mut paid) = (Addresses::default(), Micros::ZERO);
        for last in 0..=255 {
            let ip = IpAddr::from([198, 51, 100, last]);
            admission
                .judge(Some(ip), millis(1), &mut addresses, &mut paid, room)
                .ok();
        }
        let later = Micros::from_secs(3);
        admission
            .judge(Some(PEER), later, &mut addresses, &mut paid, room)
            .unwrap();
        assert_eq!(addresses.tallies.len(), 1);
    }
}
