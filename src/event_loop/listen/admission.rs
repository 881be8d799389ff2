//! Limits on connections and handshakes, in total and for each address.

use std::net::IpAddr;

use super::addresses::{Addresses, Tally};
use super::rates::Rate;
use super::refusal::Refusal;
use crate::config::AdmissionConfig;
use crate::error::ConfigError;
use crate::proto::time::Micros;

/// Limits of one listener, parsed.
#[derive(Clone, Debug)]
pub(in crate::event_loop) struct Admission {
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
    /// Checks a new connection. `paid` is the record of the listener's rate. Without an IP address, no limit
    /// for each address applies.
    pub(super) fn judge(
        &self,
        ip: Option<IpAddr>,
        now: Micros,
        addresses: &mut Addresses,
        paid: &mut Micros,
        room: Room,
    ) -> Result<(), Refusal> {
        if let Some(ip) = ip {
            self.judge_address(ip, now, addresses, room)?;
        }
        match self.total_rate {
            Some(rate) if !rate.take(paid, now) => Err(Refusal::Rate),
            Some(_) | None => Ok(()),
        }
    }

    /// Checks a connection against the limits of its address.
    pub(super) fn judge_address(
        &self,
        ip: IpAddr,
        now: Micros,
        addresses: &mut Addresses,
        room: Room,
    ) -> Result<(), Refusal> {
        let Tally {
            open, half_open, ..
        } = addresses.tally(ip);
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
        Ok(())
    }

    /// Says whether connections of this address are counted.
    pub(super) fn counts(&self, ip: IpAddr) -> bool {
        self.share.is_some() || self.limits(ip)
    }

    /// Says whether the limits on number and rate apply to this address.
    fn limits(&self, ip: IpAddr) -> bool {
        let limited = self.open.is_some() || self.rate.is_some();
        limited && (self.limits_loopback || !ip.is_loopback())
    }

    /// Says whether an address has more half-open connections than it may.
    pub(super) fn is_crowded(&self, ip: IpAddr, addresses: &Addresses) -> bool {
        let half_open = addresses.tally(ip).half_open;
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

#[cfg(test)]
mod tests {
    use super::*;

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
        admission.judge(Some(ip), now, addresses, &mut Micros::ZERO.clone(), ROOMY)?;
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
                        .judge(Some(ip), millis(1), &mut counts, paid, room)
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
            admission.judge(Some(ip), now, &mut addresses, &mut paid, ROOMY)
        };
        let start = Micros::from_secs(1);
        assert_eq!(judge(1, start), Ok(()));
        assert_eq!(judge(2, start), Ok(()));
        assert_eq!(judge(3, start), Err(Refusal::Rate));
        assert_eq!(judge(3, start + millis(500)), Ok(()));
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
