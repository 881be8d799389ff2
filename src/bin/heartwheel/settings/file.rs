//! Settings of a file, in TOML.
//!
//! ```toml
//! interval = "20s"
//!
//! [[listener]]
//! ws = "127.0.0.1:9001"
//! interval = "5s"
//! ```

use std::fs;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::keys::{Keys, Scope, Shape};
use super::{Fault, Origin, Setting, Settings};

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sheet {
    /// What holds for the program and for all listeners.
    pub(crate) top: Settings,
    pub(crate) listeners: Vec<Table>,
}

/// One listener of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    pub(crate) origin: Origin,
    pub(crate) settings: Settings,
}

impl Sheet {
    /// Reads a file; says all that is wrong with it.
    pub(crate) fn read(keys: &Keys, path: &Path) -> Result<Self, Vec<Fault>> {
        let name: Arc<str> = path.display().to_string().into();
        let text = fs::read_to_string(path).map_err(|error| {
            let said = format!("cannot read {name}: {error}");
            vec![Fault { origin: None, said }]
        })?;
        Self::parse(keys, name, &text)
    }

    /// Reads the text of a file.
    pub(crate) fn parse(keys: &Keys, name: Arc<str>, text: &str) -> Result<Self, Vec<Fault>> {
        let reader = &mut Reader {
            keys,
            name,
            text,
            faults: Vec::new(),
        };
        let sheet = match DeTable::parse(text) {
            Ok(table) => reader.sheet(table.get_ref()),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                reader.refuse(at, error.message().replace('\n', ", "));
                Self::default()
            }
        };
        match reader.faults.is_empty() {
            true => Ok(sheet),
            false => Err(std::mem::take(&mut reader.faults)),
        }
    }
}

struct Reader<'a> {
    keys: &'a Keys,
    name: Arc<str>,
    text: &'a str,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn sheet(&mut self, table: &DeTable<'_>) -> Sheet {
        let mut sheet = Sheet::default();
        for (key, value) in in_order(table) {
            if key.get_ref() == LISTENER {
                self.listeners(key, value.get_ref(), &mut sheet.listeners);
            } else if let Some(setting) = self.setting(key, value) {
                sheet.top.set(key.get_ref().as_ref(), setting);
            }
        }
        sheet
    }

    fn listeners(
        &mut self,
        key: &Spanned<DeString<'_>>,
        value: &DeValue<'_>,
        listeners: &mut Vec<Table>,
    ) {
        let Some(list) = value.as_array() else {
            return self.refuse(key.span().start, "each listener begins with [[listener]]");
        };
        for one in list.iter() {
            let at = one.span().start;
            let Some(table) = one.get_ref().as_table() else {
                self.refuse(at, "each listener begins with [[listener]]");
                continue;
            };
            let settings = self.listener(at, table);
            let origin = self.origin(at);
            listeners.push(Table { origin, settings });
        }
    }

    fn listener(&mut self, at: usize, table: &DeTable<'_>) -> Settings {
        let mut settings = Settings::default();
        let mut places = 0;
        for (key, value) in in_order(table) {
            let Some(setting) = self.setting(key, value) else {
                // What is wrong with it was said.
                places += usize::from(self.is_place(key.get_ref()));
                continue;
            };
            match self.keys.scope(key.get_ref()) {
                Scope::Place => places += setting.values.len(),
                Scope::Listener => {}
                Scope::Whole => {
                    let said = format!(
                        "{} is for the whole program; move it above the first [[listener]]",
                        key.get_ref()
                    );
                    self.refuse(key.span().start, said);
                }
            }
            settings.set(key.get_ref().as_ref(), setting);
        }
        if places != 1 {
            let said = match places {
                0 => "this listener has no address; add one, such as ws = \"127.0.0.1:9001\"",
                _ => "this listener has several addresses; give each a [[listener]] of its own",
            };
            self.refuse(at, said);
        }
        settings
    }

    fn is_place(&self, key: &str) -> bool {
        self.keys.shape(key).is_some() && self.keys.scope(key) == Scope::Place
    }

    /// Reads one key; `None` if something is wrong with it.
    fn setting(
        &mut self,
        key: &Spanned<DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<Setting> {
        let at = key.span().start;
        let name = key.get_ref();
        let Some(shape) = self.keys.shape(name) else {
            self.refuse(at, self.unknown(name, value.get_ref()));
            return None;
        };
        match values(shape, value.get_ref()) {
            Ok(values) => {
                let origin = self.origin(at);
                Some(Setting { values, origin })
            }
            Err(said) => {
                self.refuse(at, format!("{name} {said}"));
                None
            }
        }
    }

    fn unknown(&self, name: &str, value: &DeValue<'_>) -> String {
        let meant = match (self.keys.meant(name), strsim::jaro_winkler(name, LISTENER)) {
            (_, alike) if alike > 0.9 => "; did you mean [[listener]]?".to_owned(),
            (Some(meant), _) if !value.is_table() => format!("; did you mean {meant}?"),
            _ => "; heartwheel config --example shows all keys".to_owned(),
        };
        let what = if value.is_table() { "table" } else { "key" };
        format!("there is no {what} {name}{meant}")
    }

    fn origin(&self, at: usize) -> Origin {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        Origin::File {
            name: Arc::clone(&self.name),
            line: before.iter().filter(|&&byte| byte == b'\n').count() + 1,
        }
    }

    fn refuse(&mut self, at: usize, said: impl Into<String>) {
        let origin = self.origin(at);
        self.faults.push(Fault::at(origin, said));
    }
}

/// Lists keys as they are written.
fn in_order<'t, 'i>(
    table: &'t DeTable<'i>,
) -> Vec<(&'t Spanned<DeString<'i>>, &'t Spanned<DeValue<'i>>)> {
    let mut keys: Vec<_> = table.iter().collect();
    keys.sort_by_key(|(key, _)| key.span().start);
    keys
}

/// Returns what would be typed for a value.
fn values(shape: Shape, value: &DeValue<'_>) -> Result<Vec<String>, String> {
    match (shape, value) {
        (Shape::Switch, DeValue::Boolean(_)) => Ok(vec![word(value)?]),
        (Shape::Switch, _) => Err("is true or false".into()),
        (Shape::Many, DeValue::Array(list)) => {
            let words = list.iter().map(|one| word(one.get_ref()));
            words.collect()
        }
        (Shape::One, DeValue::Array(_)) => Err("takes one value, not a list".into()),
        (Shape::One | Shape::Many, _) => Ok(vec![word(value)?]),
    }
}

fn word(value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => {
            let digits = number.as_str().replace('_', "");
            let read = i64::from_str_radix(&digits, number.radix());
            let read = read.map_err(|_| format!("has a number that is too large: {digits}"))?;
            Ok(read.to_string())
        }
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Ok(flag.to_string()),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
            Err(format!("takes no {}", value.type_str()))
        }
    }
}

/// The name of the tables of listeners.
const LISTENER: &str = "listener";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Sheet, Vec<String>> {
        let sheet = Sheet::parse(&Keys::new(), "a.toml".into(), text);
        sheet.map_err(|faults| faults.iter().map(Fault::to_string).collect())
    }

    fn shown(settings: &Settings) -> Vec<String> {
        let shown = settings.iter();
        let shown = shown.map(|(key, it)| format!("{key}={} {}", it.values.join("+"), it.origin));
        shown.collect()
    }

    #[test]
    fn a_file_has_keys_for_all_and_listeners_with_keys_of_their_own() {
        let sheet = parse(
            "# all\nmax_connections = 100_000\norigin = [\"null\",\n  \"http://a.example\"]\njson = true\n\
             [[listener]]\nws = \":9001\"\ninterval = \"5s\"\n\n[[listener]]\ntcp = [\":9002\"]\n",
        );
        let sheet = sheet.expect("it makes sense");
        assert_eq!(
            shown(&sheet.top),
            [
                "json=true a.toml:5",
                "max_connections=100000 a.toml:2",
                "origin=null+http://a.example a.toml:3"
            ]
        );
        let [ws, tcp] = &sheet.listeners[..] else {
            panic!("two listeners");
        };
        assert_eq!(
            shown(&ws.settings),
            ["interval=5s a.toml:8", "ws=:9001 a.toml:7"]
        );
        assert_eq!(ws.origin.to_string(), "a.toml:6");
        assert_eq!(shown(&tcp.settings), ["tcp=:9002 a.toml:11"]);
    }

    #[test]
    fn all_that_is_wrong_is_told_with_its_line_and_a_way_out() {
        for (text, said) in [
            (
                "intervall = \"5s\"\njsn = true",
                &[
                    "a.toml:1: there is no key intervall; did you mean interval?",
                    "a.toml:2: there is no key jsn; did you mean json?",
                ][..],
            ),
            (
                "max_message = [1, 2]",
                &["a.toml:1: max_message takes one value, not a list"],
            ),
            ("json = \"yes\"", &["a.toml:1: json is true or false"]),
            (
                "[heartbeat]\ninterval = \"5s\"",
                &[
                    "a.toml:1: there is no table heartbeat; heartwheel config --example shows all keys",
                ],
            ),
            (
                "[listener]\nws = \":1\"",
                &["a.toml:1: each listener begins with [[listener]]"],
            ),
            (
                "[[listeners]]\nws = \":1\"",
                &["a.toml:1: there is no key listeners; did you mean [[listener]]?"],
            ),
            (
                "[[listener]]\nshards = 2\nws = \":1\"",
                &[
                    "a.toml:2: shards is for the whole program; move it above the first [[listener]]",
                ],
            ),
            (
                "[[listener]]\n[[listener]]\nws=\":1\"\ntcp=\":2\"",
                &[
                    "a.toml:1: this listener has no address; add one, such as ws = \"127.0.0.1:9001\"",
                    "a.toml:2: this listener has several addresses; give each a [[listener]] of its own",
                ],
            ),
            ("drain = 1979-05-27", &["a.toml:1: drain takes no datetime"]),
        ] {
            assert_eq!(parse(text).expect_err("nonsense"), said, "{text}");
        }
        let broken = parse("a = 1\nb = = 2").expect_err("nonsense");
        assert!(broken[0].starts_with("a.toml:2: "), "{broken:?}");
    }
}
