//! What monitoring reads: OpenMetrics text.

use std::fmt;

use heartwheel::close::Cause;
use heartwheel::stats::{Histogram, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};

/// What is known at one moment, of all loops.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) stats: Stats,
    /// Connections of each listener, by its name.
    pub(crate) listeners: Vec<(String, u64)>,
    /// Thousandths of the last seconds in which a loop was not late, with its number.
    pub(crate) health: Vec<(usize, u32)>,
    pub(crate) max_connections: u64,
    pub(crate) memory_limit: Option<u64>,
    pub(crate) is_draining: bool,
    /// When certificates expire, seconds since 1970, by file.
    pub(crate) certificates: Vec<(String, u64)>,
}

impl Snapshot {
    /// Writes it down.
    pub(crate) fn encode(self) -> String {
        let mut registry = Registry::with_prefix("heartwheel");
        registry.register_collector(Box::new(self));
        let mut text = String::new();
        // Writing to a string does not fail.
        text::encode(&mut text, &registry).ok();
        text
    }
}

/// Writes families, one after the other.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        let counter = ConstCounter::new(count);
        let family = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        counter.encode(family)
    }

    fn bytes(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        let counter = ConstCounter::new(count);
        let unit = Some(&Unit::Bytes);
        let family = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Counter)?;
        counter.encode(family)
    }

    fn gauge(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: f64) -> fmt::Result {
        let family = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Gauge)?;
        ConstGauge::new(value).encode(family)
    }

    /// Writes a gauge for each value of a label.
    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        label: &'static str,
        values: impl IntoIterator<Item = (String, f64)>,
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (of, value) in values {
            let labels = [(label, of.as_str())];
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        values: impl IntoIterator<Item = (&'static str, u64)>,
    ) -> fmt::Result {
        let kind = MetricType::Counter;
        let mut family = self.0.encode_descriptor(name, help, None, kind)?;
        for (of, count) in values {
            let labels = [(label, of)];
            ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn times(&mut self, name: &str, help: &str, times: &Histogram) -> fmt::Result {
        let (sum, buckets) = in_buckets(times);
        let unit = Some(&Unit::Seconds);
        let kind = MetricType::Histogram;
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        family.encode_histogram::<NoLabelSet>(sum, times.len(), &buckets, None)
    }
}

/// Sorts times into a few buckets, in seconds. The sum is at most a sixteenth too high, as each time counts as
/// the longest of the fine bucket that it was in.
fn in_buckets(times: &Histogram) -> (f64, Vec<(f64, u64)>) {
    let mut buckets: Vec<_> = BOUNDS.iter().map(|&bound| (bound, 0)).collect();
    buckets.push((f64::INFINITY, 0));
    let mut sum = 0.0;
    for (time, count) in times.buckets() {
        let seconds = time.min(Histogram::LONGEST).as_secs_f64();
        sum += seconds * count as f64;
        let place = BOUNDS.iter().position(|&bound| seconds <= bound);
        buckets[place.unwrap_or(BOUNDS.len())].1 += count;
    }
    (sum, buckets)
}

impl Collector for Snapshot {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut families = Families(encoder);
        self.connections(&mut families)?;
        self.heartbeats(&mut families)?;
        self.messages(&mut families)?;
        self.loops(&mut families)
    }
}

impl Snapshot {
    fn connections(&self, families: &mut Families<'_>) -> fmt::Result {
        let stats = &self.stats;
        let listeners = self.listeners.iter();
        families.gauges(
            "connections",
            "Connections of a listener, in any phase",
            None,
            "listener",
            listeners.map(|(name, count)| (name.clone(), *count as f64)),
        )?;
        families.gauge(
            "max_connections",
            "Most connections at once",
            None,
            self.max_connections as f64,
        )?;
        let draining = f64::from(u8::from(self.is_draining));
        families.gauge(
            "draining",
            "1 while connections are drained",
            None,
            draining,
        )?;
        for (name, help, count) in [
            ("accepted", "Connections accepted", stats.accepted),
            ("opened", "Connections that opened", stats.opened),
            (
                "rejected",
                "Connections that ended before they opened",
                stats.rejected,
            ),
            (
                "http_answers",
                "Plain HTTP requests answered",
                stats.answered,
            ),
            (
                "accept_pauses",
                "How often a listener ran out of room for new connections",
                stats.accept_pauses,
            ),
        ] {
            families.counter(name, help, count)?;
        }
        let causes = Cause::ALL.iter();
        families.counters(
            "closed",
            "Connections that ended, by cause, whether they had opened or not",
            "cause",
            causes.map(|&cause| (cause.label(), stats.closed(cause))),
        )?;
        let certificates = self.certificates.iter();
        families.gauges(
            "certificate_not_after",
            "When a certificate expires, as a Unix time",
            Some(&Unit::Seconds),
            "file",
            certificates.map(|(file, at)| (file.clone(), *at as f64)),
        )
    }

    fn heartbeats(&self, families: &mut Families<'_>) -> fmt::Result {
        let stats = &self.stats;
        for (name, help, count) in [
            ("pings_due", "Pings scheduled", stats.pings_due),
            (
                "pings_written",
                "Pings that the kernel accepted",
                stats.pings_written,
            ),
            ("pongs_matched", "Answers to our pings", stats.pongs_matched),
            (
                "pongs_unsolicited",
                "Pongs that nobody asked for",
                stats.pongs_unsolicited,
            ),
            (
                "pongs_mismatched",
                "Pongs with a payload of none of our pings",
                stats.pongs_mismatched,
            ),
            ("pings_received", "Pings of peers", stats.pings_received),
        ] {
            families.counter(name, help, count)?;
        }
        families.times("rtt", "Round-trip times of pings", &stats.rtt)?;
        families.times(
            "ping_lateness",
            "How late scheduled pings were written",
            &stats.ping_lateness,
        )?;
        families.times(
            "verdict_lateness",
            "How late silent peers were closed",
            &stats.verdict_lateness,
        )
    }

    fn messages(&self, families: &mut Families<'_>) -> fmt::Result {
        let stats = &self.stats;
        for (name, help, count) in [
            ("messages_in", "Messages received", stats.messages_in),
            (
                "messages_out",
                "Messages queued for output",
                stats.messages_out,
            ),
            (
                "messages_inflated",
                "Compressed messages received",
                stats.messages_inflated,
            ),
            (
                "messages_deflated",
                "Messages compressed",
                stats.messages_deflated,
            ),
            (
                "send_full",
                "Sends that found a queue full",
                stats.send_full,
            ),
            (
                "undelivered",
                "Messages of other threads that found no connection or no room",
                stats.undelivered,
            ),
            (
                "writes_refused",
                "Writes that the kernel took only a part of",
                stats.writes_refused,
            ),
            (
                "memory_pauses",
                "How often reading stopped because memory was short",
                stats.memory_pauses,
            ),
            (
                "rate_pauses",
                "How often reading stopped because a peer sent too much",
                stats.rate_pauses,
            ),
        ] {
            families.counter(name, help, count)?;
        }
        for (name, help, count) in [
            ("received", "Bytes received", stats.bytes_in),
            ("sent", "Bytes written", stats.bytes_out),
            (
                "inflated_from",
                "Compressed bytes received",
                stats.inflated_from,
            ),
            ("inflated_to", "What they became", stats.inflated_to),
            (
                "deflated_from",
                "Bytes before compression",
                stats.deflated_from,
            ),
            ("deflated_to", "What they became", stats.deflated_to),
        ] {
            families.bytes(name, help, count)?;
        }
        let bytes = Some(&Unit::Bytes);
        let memory = stats.memory as f64;
        families.gauge(
            "message_memory",
            "Memory of messages in transit",
            bytes,
            memory,
        )?;
        if let Some(limit) = self.memory_limit {
            let help = "Most memory of messages in transit";
            families.gauge("message_memory_limit", help, bytes, limit as f64)?;
        }
        families.gauge(
            "topics",
            "Topics with subscribers",
            None,
            stats.topics as f64,
        )?;
        let subscriptions = stats.subscriptions as f64;
        families.gauge("subscriptions", "Subscriptions", None, subscriptions)
    }

    fn loops(&self, families: &mut Families<'_>) -> fmt::Result {
        let stats = &self.stats;
        families.counter("turns", "Turns of the loops", stats.turns)?;
        families.counter("sleeps", "How often the machine slept", stats.sleeps)?;
        families.times(
            "loop_delay",
            "How late turns of the loops began, and how long they were",
            &stats.loop_delay,
        )?;
        let health = self.health.iter();
        families.gauges(
            "health",
            "Share of the last ten seconds in which a loop was not late",
            Some(&Unit::Other("ratio".into())),
            "shard",
            health.map(|(shard, health)| (shard.to_string(), f64::from(*health) / 1000.0)),
        )
    }
}

/// Upper bounds of the buckets, seconds.
const BOUNDS: [f64; 15] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
    30.0,
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn times_fall_into_buckets_that_add_up() {
        let mut times = Histogram::default();
        for millis in [0, 1, 3, 40, 400, 100_000] {
            times.record(Duration::from_millis(millis));
        }
        let (sum, buckets) = in_buckets(&times);
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), 6);
        assert_eq!(buckets.last().map(|last| last.1), Some(1));
        assert!(sum > 67.0 && sum < 70.0, "{sum}");
    }

    #[test]
    fn names_have_units_and_counters_end_in_total() {
        let snapshot = Snapshot {
            listeners: vec![("ws 127.0.0.1:9001".into(), 3)],
            health: vec![(0, 1000), (1, 900)],
            certificates: vec![("a.pem".into(), 2_000_000_000)],
            ..Snapshot::default()
        };
        let text = snapshot.encode();
        for line in [
            "heartwheel_connections{listener=\"ws 127.0.0.1:9001\"} 3.0",
            "heartwheel_closed_total{cause=\"peer_eof\"} 0",
            "heartwheel_received_bytes_total 0",
            "heartwheel_rtt_seconds_count 0",
            "heartwheel_health_ratio{shard=\"1\"} 0.9",
            "heartwheel_certificate_not_after_seconds{file=\"a.pem\"} 2000000000.0",
            "# TYPE heartwheel_ping_lateness_seconds histogram",
        ] {
            assert!(text.lines().any(|had| had == line), "no {line}:\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
