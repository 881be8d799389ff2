//! One event and its two formats: a line for people, and a JSON object for programs.

use std::fmt::{Display, Write};
use std::time::Duration;

use heartwheel::close::{Evidence, EvidenceField};
use heartwheel::rustls::ProtocolVersion;
use heartwheel::sys::Tls;
use heartwheel::{PeerAddr, Stats};
use serde_json::{Map, Value};

use crate::values::{micros, show_time};

/// What happened: a word, and what there is to say of it in a fixed order.
///
/// The keys of both forms are the same, but for times: people read `age=2.5s`, programs `"age_us":
/// 2500000`.
#[derive(Debug)]
pub(crate) struct Record {
    event: &'static str,
    phrase: Option<String>,
    fields: Vec<(&'static str, Field)>,
}

#[derive(Debug)]
enum Field {
    /// Text of ours, without spaces.
    Word(String),
    /// A label that a line shows without its key.
    Bare(String),
    /// Text that the peer chose.
    Quoted(String),
    Number(u64),
    Signed(i32),
    Flag(bool),
    Time(Duration),
    Counts(Vec<(String, u64)>),
    /// Only in JSON.
    Version(u32),
}

impl Record {
    pub(crate) fn new(event: &'static str) -> Self {
        Self {
            event,
            phrase: None,
            fields: Vec::new(),
        }
    }

    /// Sets the words that a line shows instead of keys and values.
    pub(crate) fn phrase(mut self, phrase: impl Into<String>) -> Self {
        self.phrase = Some(phrase.into());
        self
    }

    pub(crate) fn word(self, key: &'static str, word: impl Display) -> Self {
        self.with(key, Field::Word(word.to_string()))
    }

    /// Adds an address, and the one of the proxy before it, if there is one.
    pub(crate) fn peer(self, peer: &PeerAddr) -> Self {
        let record = self.word("peer", peer);
        match peer.proxy() {
            Some(proxy) => record.word("via", proxy),
            None => record,
        }
    }

    /// Adds the version of TLS, if the connection has that.
    pub(crate) fn tls(self, tls: Option<&Tls>) -> Self {
        match tls.and_then(Tls::version) {
            Some(ProtocolVersion::TLSv1_3) => self.word("tls", "1.3"),
            Some(_) => self.word("tls", "1.2"),
            None => self,
        }
    }

    pub(crate) fn bare(self, key: &'static str, word: impl Display) -> Self {
        self.with(key, Field::Bare(word.to_string()))
    }

    pub(crate) fn quoted(self, key: &'static str, text: &str) -> Self {
        self.with(key, Field::Quoted(text.to_owned()))
    }

    pub(crate) fn number(self, key: &'static str, number: impl Into<u64>) -> Self {
        self.with(key, Field::Number(number.into()))
    }

    /// Adds how many messages were compressed and inflated, and their bytes before and after, if there were
    /// any.
    pub(crate) fn compression(self, stats: &Stats) -> Self {
        if stats.messages_deflated + stats.messages_inflated == 0 {
            return self;
        }
        self.number("messages_deflated", stats.messages_deflated)
            .number("deflated_from", stats.deflated_from)
            .number("deflated_to", stats.deflated_to)
            .number("messages_inflated", stats.messages_inflated)
            .number("inflated_from", stats.inflated_from)
            .number("inflated_to", stats.inflated_to)
    }

    pub(crate) fn time(self, key: &'static str, time: Duration) -> Self {
        self.with(key, Field::Time(time))
    }

    pub(crate) fn maybe_time(self, key: &'static str, time: Option<Duration>) -> Self {
        match time {
            Some(time) => self.time(key, time),
            None => self,
        }
    }

    pub(crate) fn counts(
        self,
        key: &'static str,
        counts: impl IntoIterator<Item = (impl Into<String>, u64)>,
    ) -> Self {
        let counts = counts.into_iter();
        let counts = counts.map(|(name, count)| (name.into(), count));
        self.with(key, Field::Counts(counts.collect()))
    }

    pub(crate) fn maybe_number(self, key: &'static str, number: Option<impl Into<u64>>) -> Self {
        match number {
            Some(number) => self.number(key, number),
            None => self,
        }
    }

    /// Adds the record of an end. JSON also gets the version of its fields.
    pub(crate) fn evidence(mut self, evidence: &Evidence, reason: &str) -> Self {
        evidence.fields(|name, field| {
            let field = match field {
                EvidenceField::Word(word) => Field::Word(word.to_owned()),
                EvidenceField::Number(number) => Field::Number(number),
                EvidenceField::Signed(number) => Field::Signed(number),
                EvidenceField::Flag(flag) => Field::Flag(flag),
                EvidenceField::Time(time) => Field::Time(time),
            };
            self.fields.push((name, field));
            if name == "cause" && !reason.is_empty() {
                self.fields
                    .push(("reason", Field::Quoted(reason.to_owned())));
            }
        });
        self.with("v", Field::Version(Evidence::VERSION))
    }

    /// Writes the line, with its line end. With a `width`, longer lines are wrapped and indented.
    pub(crate) fn write_line(&self, width: Option<usize>, out: &mut String) {
        if let Some(phrase) = &self.phrase {
            out.push_str(phrase);
            out.push('\n');
            return;
        }
        let indent = self.event.len();
        let mut start = out.len();
        out.push_str(self.event);
        for (key, field) in &self.fields {
            if matches!(field, Field::Version(_)) {
                continue;
            }
            let end = out.len();
            out.push(' ');
            field.write(key, out);
            if width.is_some_and(|width| out.len() - start > width) && end - start > indent {
                let mut turned = String::from("\n");
                turned.extend(std::iter::repeat_n(' ', indent));
                out.insert_str(end, &turned);
                start = end + 1;
            }
        }
        out.push('\n');
    }

    /// Writes the JSON object in ASCII, with its line end.
    pub(crate) fn write_json(&self, out: &mut String) {
        let mut text = format!("{{\"event\":\"{}\"", self.event);
        for (key, field) in &self.fields {
            let unit = if matches!(field, Field::Time(_)) {
                "_us"
            } else {
                ""
            };
            // Writing to a string does not fail.
            write!(text, ",\"{key}{unit}\":{}", field.to_json()).ok();
        }
        text.push('}');
        // Only strings can hold such letters, and there they may be written as escapes.
        for letter in text.chars() {
            if (' '..='~').contains(&letter) {
                out.push(letter);
            } else {
                for unit in letter.encode_utf16(&mut [0; 2]) {
                    // Writing to a string does not fail.
                    write!(out, "\\u{unit:04x}").ok();
                }
            }
        }
        out.push('\n');
    }

    fn with(mut self, key: &'static str, field: Field) -> Self {
        self.fields.push((key, field));
        self
    }
}

impl Field {
    fn write(&self, key: &str, out: &mut String) {
        // Writing to a string does not fail.
        match self {
            Self::Word(word) => write!(out, "{key}={word}"),
            Self::Bare(word) => out.write_str(word),
            Self::Quoted(text) => write!(out, "{key}={text:?}"),
            Self::Number(number) => write!(out, "{key}={number}"),
            Self::Signed(number) => write!(out, "{key}={number}"),
            Self::Flag(flag) => write!(out, "{key}={flag}"),
            Self::Time(time) => write!(out, "{key}={}", show_time(*time)),
            Self::Version(version) => write!(out, "{key}={version}"),
            Self::Counts(counts) => write!(out, "{key}={}", join_counts(counts, ",", ":")),
        }
        .ok();
    }

    fn to_json(&self) -> Value {
        match self {
            Self::Word(text) | Self::Bare(text) | Self::Quoted(text) => text.as_str().into(),
            Self::Number(number) => (*number).into(),
            Self::Signed(number) => (*number).into(),
            Self::Flag(flag) => (*flag).into(),
            Self::Time(time) => micros(*time).into(),
            Self::Version(version) => (*version).into(),
            Self::Counts(counts) => counts
                .iter()
                .map(|(name, count)| (name.clone(), Value::from(*count)))
                .collect::<Map<_, _>>()
                .into(),
        }
    }
}

/// Joins counts. Returns `none` if there are none.
pub(crate) fn join_counts(counts: &[(impl Display, u64)], between: &str, within: &str) -> String {
    if counts.is_empty() {
        return "none".into();
    }
    let parts: Vec<_> = counts
        .iter()
        .map(|(name, count)| format!("{name}{within}{count}"))
        .collect();
    parts.join(between)
}

#[cfg(test)]
mod tests {
    use heartwheel::close::{Cause, CloseCode, Phase, Rtt};

    use super::*;

    fn evidence() -> Evidence {
        let mut evidence = Evidence::new(Cause::PongTimeout, Phase::Open);
        evidence.age = Duration::from_millis(7_500);
        evidence.last_in = Some(Duration::from_millis(2_500));
        evidence.last_proof = Some(Duration::from_millis(2_500));
        (
            evidence.pings_due,
            evidence.pings_written,
            evidence.pings_answered,
        ) = (7, 7, 5);
        evidence.loop_delay = Duration::from_micros(310);
        evidence
    }

    fn line(record: &Record) -> String {
        let mut out = String::new();
        record.write_line(None, &mut out);
        out
    }

    fn json(record: &Record) -> Value {
        let mut out = String::new();
        record.write_json(&mut out);
        assert!(out.ends_with("}\n") && out.is_ascii(), "{out:?}");
        serde_json::from_str(&out).expect("it is JSON")
    }

    #[test]
    fn a_closed_line_holds_what_there_is_and_nothing_else() {
        let record = Record::new("closed")
            .word("id", "0.1")
            .evidence(&evidence(), "");
        assert_eq!(
            line(&record),
            "closed id=0.1 cause=pong_timeout side=peer age=7.5s clean=false phase=open last_in=2.5s \
             last_proof=2.5s pings_due=7 pings_written=7 pings_answered=5 queued=0 dropped=0 forgiveness=0ms \
             loop_delay=0.31ms\n"
        );
    }

    #[test]
    fn the_object_has_the_same_keys_and_times_in_microseconds() {
        let mut full = evidence();
        full.errno = Some(104);
        full.close_code = Some(CloseCode::GOING_AWAY);
        full.last_out = Some(Duration::from_micros(1));
        full.rtt = Some(Rtt {
            last: Duration::from_micros(1),
            min: Duration::from_micros(2),
            smoothed: Duration::from_micros(3),
        });
        let record = Record::new("closed")
            .word("id", "0.1")
            .word("peer", "127.0.0.1:5")
            .evidence(&full, "bye");
        let object = json(&record);
        for (key, value) in [
            ("event", Value::from("closed")),
            ("id", "0.1".into()),
            ("peer", "127.0.0.1:5".into()),
            ("v", Evidence::VERSION.into()),
            ("cause", "pong_timeout".into()),
            ("side", "peer".into()),
            ("age_us", 7_500_000.into()),
            ("clean", false.into()),
            ("phase", "open".into()),
            ("errno", 104.into()),
            ("code", 1001.into()),
            ("reason", "bye".into()),
            ("last_in_us", 2_500_000.into()),
            ("last_out_us", 1.into()),
            ("last_proof_us", 2_500_000.into()),
            ("pings_due", 7.into()),
            ("pings_written", 7.into()),
            ("pings_answered", 5.into()),
            ("rtt_us", 3.into()),
            ("rtt_min_us", 2.into()),
            ("rtt_last_us", 1.into()),
            ("queued", 0.into()),
            ("forgiveness_us", 0.into()),
            ("loop_delay_us", 310.into()),
        ] {
            assert_eq!(object[key], value, "{key}");
        }
    }

    #[test]
    fn the_address_of_a_proxy_stands_beside_its_clients() {
        let addr = |text: &str| text.parse::<std::net::SocketAddr>().expect("an address");
        let [client, proxy] = ["203.0.113.7:4711", "192.0.2.1:9"].map(addr);
        let direct = Record::new("open").peer(&client.into());
        assert_eq!(line(&direct), "open peer=203.0.113.7:4711\n");
        let record = Record::new("open").peer(&PeerAddr::from(client).behind(proxy));
        assert_eq!(
            line(&record),
            "open peer=203.0.113.7:4711 via=192.0.2.1:9\n"
        );
        assert_eq!(json(&record)["via"], "192.0.2.1:9");
    }

    #[test]
    fn text_of_the_peer_cannot_leave_its_quotes() {
        let reason = "x\" cause=none\n\u{1b}[31m\u{9b}\u{202e}\u{1f600}";
        let record = Record::new("closed").evidence(&evidence(), reason);
        let shown = line(&record);
        assert_eq!(shown.matches('\n').count(), 1, "{shown:?}");
        assert!(shown.contains(r#"reason="x\" cause=none\n\u{1b}[31m\u{9b}\u{202e}"#));
        assert_eq!(json(&record)["reason"], reason);
    }

    #[test]
    fn a_terminal_gets_lines_of_its_width_under_the_first_field() {
        let record = Record::new("closed")
            .word("id", "0.1")
            .word("peer", "127.0.0.1:40000")
            .evidence(&evidence(), "");
        let mut out = String::from("before\n");
        record.write_line(Some(60), &mut out);
        let rows: Vec<_> = out.lines().skip(1).collect();
        assert!(rows.len() > 3, "{out}");
        assert!(rows.iter().all(|row| row.len() <= 60), "{out}");
        assert!(rows[0].starts_with("closed id=0.1 "), "{out}");
        assert!(
            rows[1..].iter().all(|row| row.starts_with("       ")),
            "{out}"
        );
        let words = |text: &str| text.split_whitespace().count();
        assert_eq!(words(&line(&record)), words(&rows.join(" ")));
    }

    #[test]
    fn counts_are_an_object_or_a_list() {
        let record = Record::new("summary").counts("causes", [("drain", 2), ("peer_eof", 1)]);
        assert_eq!(line(&record), "summary causes=drain:2,peer_eof:1\n");
        assert_eq!(json(&record)["causes"]["peer_eof"], 1);
    }
}
