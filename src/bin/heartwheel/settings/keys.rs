//! The keys that there are: the flags of `serve`.

use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches};

use super::{Fault, Origin, Setting, Settings};
use crate::args::{ListenerFlags, PlaceFlags, ServeArgs, WholeFlags};
use crate::usage;
use crate::values::closest;

/// All keys, with what the flags of the same name take.
#[derive(Debug)]
pub(crate) struct Keys {
    command: Command,
    scopes: BTreeMap<String, Scope>,
}

/// What a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// True or false.
    Switch,
    /// One value.
    One,
    /// Any number of them.
    Many,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// It is a listener.
    Place,
    /// What a listener does; outside of a listener, what all of them do.
    Listener,
    Whole,
}

impl Keys {
    pub(crate) fn new() -> Self {
        let command = Command::new("serve").no_binary_name(true);
        let groups = [
            (Scope::Place, PlaceFlags::augment_args(Command::new(""))),
            (
                Scope::Listener,
                ListenerFlags::augment_args(Command::new("")),
            ),
            (Scope::Whole, WholeFlags::augment_args(Command::new(""))),
        ];
        let scopes = groups.iter().flat_map(|(scope, group)| {
            let args = group.get_arguments();
            args.map(|arg| (arg.get_id().to_string(), *scope))
        });
        Self {
            command: ServeArgs::augment_args(command),
            scopes: scopes.collect(),
        }
    }

    /// Lists the flags that are keys, in the order of the help.
    pub(crate) fn args(&self) -> impl Iterator<Item = &Arg> {
        self.command.get_arguments().filter(|arg| is_key(arg))
    }

    pub(crate) fn shape(&self, key: &str) -> Option<Shape> {
        let arg = self.args().find(|arg| arg.get_id() == key)?;
        Some(match arg.get_action() {
            ArgAction::SetTrue => Shape::Switch,
            ArgAction::Append => Shape::Many,
            _ => Shape::One,
        })
    }

    /// Returns what a key is for; there must be one of this name.
    pub(crate) fn scope(&self, key: &str) -> Scope {
        let scope = self.scopes.get(key).copied();
        debug_assert!(scope.is_some(), "{key}");
        scope.unwrap_or(Scope::Whole)
    }

    /// Returns the key that may have been meant.
    pub(crate) fn meant(&self, typed: &str) -> Option<&str> {
        let typed = typed.to_ascii_lowercase().replace('-', "_");
        let keys = self.args().map(|arg| arg.get_id().as_str());
        closest(&typed, keys).and_then(|(key, alike)| (alike >= ALIKE).then_some(key))
    }

    /// Returns what was given by flags.
    pub(crate) fn given(&self, matches: &ArgMatches) -> Settings {
        let mut settings = Settings::default();
        for arg in self.args() {
            let key = arg.get_id().as_str();
            if matches.value_source(key) != Some(ValueSource::CommandLine) {
                continue;
            }
            let values = match self.shape(key) {
                Some(Shape::Switch) => vec![matches.get_flag(key).to_string()],
                _ => {
                    let typed = matches.get_raw(key).into_iter().flatten();
                    typed.map(|it| it.to_string_lossy().into_owned()).collect()
                }
            };
            let origin = Origin::Flag(format!("--{}", arg.get_long().unwrap_or(key)));
            settings.set(key, Setting { values, origin });
        }
        settings
    }

    /// Reads flags that were typed.
    #[cfg(test)]
    pub(crate) fn typed(&self, flags: &[&str]) -> Result<Settings, Error> {
        let matches = self.command.clone().try_get_matches_from(flags)?;
        Ok(self.given(&matches))
    }

    /// Writes flags in a text as keys: a file has no others.
    pub(crate) fn in_keys(&self, said: &str) -> String {
        let mut said = said.to_owned();
        for arg in self.args() {
            let key = arg.get_id().as_str();
            let flag = flag_of(key);
            let mut done = String::new();
            let mut rest = said.as_str();
            while let Some(at) = rest.find(&flag) {
                let behind = &rest[at + flag.len()..];
                let is_whole = !behind
                    .starts_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '-');
                done.push_str(&rest[..at]);
                done.push_str(if is_whole { key } else { &flag });
                rest = behind;
            }
            said = done + rest;
        }
        said
    }

    /// Finds out what was configured, as if all of it were typed as flags.
    pub(crate) fn parse(&self, settings: &Settings) -> Result<ServeArgs, Fault> {
        let mut line = Vec::<OsString>::new();
        for (key, setting) in settings.iter() {
            let flag = flag_of(key);
            for value in &setting.values {
                match self.shape(key) {
                    Some(Shape::Switch) if value == "true" => line.push(flag.clone().into()),
                    Some(Shape::Switch) | None => {}
                    Some(Shape::One | Shape::Many) => line.push(format!("{flag}={value}").into()),
                }
            }
        }
        let parsed = self.command.clone().try_get_matches_from(line);
        parsed
            .and_then(|matches| ServeArgs::from_arg_matches(&matches))
            .map_err(|error| self.fault(&error, settings))
    }

    /// Says what is wrong, where it was written. In a file and in a variable the name of the key is known.
    fn fault(&self, error: &Error, settings: &Settings) -> Fault {
        let said = usage::reason(error, &[]);
        let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else {
            return Fault { origin: None, said };
        };
        // Such as `--interval <TIME>`.
        let flag = shown.split(' ').next().unwrap_or_default();
        let key = key_of(flag);
        let Some(setting) = settings.get(&key) else {
            return Fault { origin: None, said };
        };
        let said = match setting.origin {
            Origin::Flag(_) => said,
            Origin::File { .. } | Origin::Environment(_) => said.replace(&**shown, &key),
        };
        Fault::at(setting.origin.clone(), said)
    }
}

/// Returns the flag of a key.
fn flag_of(key: &str) -> String {
    format!("--{}", key.replace('_', "-"))
}

/// Returns the key of a flag.
pub(crate) fn key_of(flag: &str) -> String {
    flag.trim_start_matches('-').replace('-', "_")
}

/// Says whether a flag is a key: not the one that names the file.
fn is_key(arg: &Arg) -> bool {
    !matches!(arg.get_id().as_str(), "config" | "help" | "version")
}

/// How alike two names must be for one to be meant by the other, of one.
const ALIKE: f64 = 0.85;

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(values: &[&str]) -> Setting {
        Setting {
            values: values.iter().map(|&value| value.into()).collect(),
            origin: Origin::Environment("HERE".into()),
        }
    }

    #[test]
    fn each_key_is_for_something_and_has_a_shape() {
        let keys = Keys::new();
        let mut count = 0;
        for arg in keys.args() {
            let key = arg.get_id().as_str();
            assert_eq!(arg.get_long(), Some(&*key.replace('_', "-")));
            assert!(keys.shape(key).is_some(), "{key}");
            keys.scope(key);
            count += 1;
        }
        assert!(count > 60, "{count} keys");
        assert_eq!(keys.shape("config"), None);
        let of = |key| (keys.scope(key), keys.shape(key));
        assert_eq!(of("wss"), (Scope::Place, Some(Shape::Many)));
        assert_eq!(of("interval"), (Scope::Listener, Some(Shape::One)));
        assert_eq!(of("json"), (Scope::Whole, Some(Shape::Switch)));
    }

    #[test]
    fn what_is_nearly_a_key_is_told() {
        let keys = Keys::new();
        for (typed, meant) in [
            ("intervall", Some("interval")),
            ("max-message", Some("max_message")),
            ("Timeout", Some("timeout")),
            ("max_conections", Some("max_connections")),
            ("colour", None),
        ] {
            assert_eq!(keys.meant(typed), meant, "{typed}");
        }
    }

    #[test]
    fn settings_are_read_as_flags_are() {
        let keys = Keys::new();
        let mut settings = Settings::default();
        settings.set("interval", flag(&["5s"]));
        settings.set("json", flag(&["true"]));
        settings.set("quiet", flag(&["false"]));
        settings.set("subprotocol", flag(&["mqtt", "stomp"]));
        let args = keys.parse(&settings).expect("it makes sense");
        assert!(args.whole.json && !args.whole.quiet);
        assert_eq!(args.listener.subprotocol, ["mqtt", "stomp"]);
        settings.set("interval", flag(&["-5"]));
        let fault = keys.parse(&settings).expect_err("nonsense");
        assert!(fault.to_string().starts_with("HERE: "), "{fault}");
        assert!(fault.said.contains("interval") && !fault.said.contains("--interval"));
    }
}
