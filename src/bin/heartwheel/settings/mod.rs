//! What was configured, as text: each key with its values, and where they come from.
//!
//! A key is the name of a flag of `serve`, with `_` for `-`. What a value means is decided in one place: the
//! parser of the flag.

pub(crate) mod environment;
pub(crate) mod file;
pub(crate) mod keys;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Where a value comes from. What comes later counts more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A line of a file.
    File { name: Arc<str>, line: usize },
    /// A variable.
    Environment(String),
    /// A flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { name, line } => write!(f, "{name}:{line}"),
            Self::Environment(name) | Self::Flag(name) => f.write_str(name),
        }
    }
}

/// What was given for one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    /// As they would be typed behind the flag. `true` or `false` for a flag that has no value.
    pub(crate) values: Vec<String>,
    pub(crate) origin: Origin,
}

/// What was given, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settings(BTreeMap<String, Setting>);

impl Settings {
    pub(crate) fn set(&mut self, key: impl Into<String>, setting: Setting) {
        self.0.insert(key.into(), setting);
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Setting> {
        self.0.get(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.0.iter().map(|(key, setting)| (key.as_str(), setting))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds what counts more: a key that both have is taken from `stronger` with all its values.
    pub(crate) fn under(mut self, stronger: &Self) -> Self {
        for (key, setting) in &stronger.0 {
            self.0.insert(key.clone(), setting.clone());
        }
        self
    }

    /// Leaves out some keys.
    pub(crate) fn without(&self, leaves_out: impl Fn(&str) -> bool) -> Self {
        let kept = self.0.iter().filter(|(key, _)| !leaves_out(key));
        Self(kept.map(|(key, it)| (key.clone(), it.clone())).collect())
    }
}

/// Something wrong with what was configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// None, where several keys do not go together.
    pub(crate) origin: Option<Origin>,
    pub(crate) said: String,
}

impl Fault {
    pub(crate) fn at(origin: Origin, said: impl Into<String>) -> Self {
        Self {
            origin: Some(origin),
            said: said.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            None | Some(Origin::Flag(_)) => f.write_str(&self.said),
            Some(origin) => write!(f, "{origin}: {}", self.said),
        }
    }
}
