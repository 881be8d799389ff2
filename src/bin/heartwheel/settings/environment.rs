//! Settings of the environment: `HEARTWHEEL_MAX_MESSAGE=64KiB`.

use std::ffi::OsString;

use super::keys::{Keys, Shape};
use super::{Fault, Origin, Setting, Settings};

/// What begins the name of each variable.
pub(crate) const PREFIX: &str = "HEARTWHEEL_";

/// The variable that names the file.
pub(crate) const FILE: &str = "HEARTWHEEL_CONFIG";

/// What the environment says, and what is odd about it.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    pub(crate) settings: Settings,
    /// Variables that are nearly those of a key. Others may be anybody's: a cluster sets some for each service,
    /// by its name.
    pub(crate) warnings: Vec<String>,
}

impl Environment {
    /// Reads it. A list is separated by commas, and an empty value says nothing.
    pub(crate) fn read(
        keys: &Keys,
        vars: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Fault> {
        let mut read = Self::default();
        let mut vars: Vec<_> = vars.into_iter().collect();
        vars.sort_unstable();
        for (name, value) in vars {
            let Some(name) = name.to_str().filter(|name| *name != FILE) else {
                continue;
            };
            let Some(key) = name.strip_prefix(PREFIX).map(str::to_ascii_lowercase) else {
                continue;
            };
            let Some(shape) = keys.shape(&key) else {
                if let Some(meant) = keys.meant(&key) {
                    let meant = meant.to_ascii_uppercase();
                    let said = format!("{name} is not read; did you mean {PREFIX}{meant}?");
                    read.warnings.push(said);
                }
                continue;
            };
            let origin = Origin::Environment(name.to_owned());
            let Some(value) = value.to_str() else {
                return Err(Fault::at(origin, "the value is not UTF-8"));
            };
            if !value.is_empty() {
                let values =
                    values(shape, value).map_err(|said| Fault::at(origin.clone(), said))?;
                read.settings.set(key, Setting { values, origin });
            }
        }
        Ok(read)
    }
}

fn values(shape: Shape, value: &str) -> Result<Vec<String>, String> {
    match shape {
        Shape::One => Ok(vec![value.to_owned()]),
        Shape::Many => Ok(value.split(',').map(|one| one.trim().to_owned()).collect()),
        Shape::Switch => match value {
            "true" | "1" => Ok(vec!["true".into()]),
            "false" | "0" => Ok(vec!["false".into()]),
            _ => Err(format!("invalid value '{value}': choose from true, false")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Environment, Fault> {
        let vars = vars.iter().map(|(name, value)| (name.into(), value.into()));
        Environment::read(&Keys::new(), vars)
    }

    #[test]
    fn variables_are_keys_in_capitals() {
        let read = read(&[
            ("PATH", "/bin"),
            ("HEARTWHEEL_CONFIG", "a.toml"),
            ("HEARTWHEEL_INTERVAL", "5s"),
            ("HEARTWHEEL_SUBPROTOCOL", "mqtt, stomp"),
            ("HEARTWHEEL_JSON", "1"),
            ("HEARTWHEEL_TIMEOUT", ""),
            ("HEARTWHEEL_PORT_9001_TCP_ADDR", "10.0.0.1"),
        ]);
        let read = read.expect("it makes sense");
        let values = |key| read.settings.get(key).map(|it| it.values.join("+"));
        assert_eq!(values("interval").as_deref(), Some("5s"));
        assert_eq!(values("subprotocol").as_deref(), Some("mqtt+stomp"));
        assert_eq!(values("json").as_deref(), Some("true"));
        assert_eq!(values("timeout"), None);
        assert_eq!(read.warnings.len(), 0, "{:?}", read.warnings);
    }

    #[test]
    fn a_name_that_is_nearly_right_is_told_and_a_wrong_value_refused() {
        let odd = read(&[("HEARTWHEEL_INTERVALL", "5s")]).expect("a warning");
        assert!(odd.warnings[0].ends_with("did you mean HEARTWHEEL_INTERVAL?"));
        let fault = read(&[("HEARTWHEEL_QUIET", "maybe")]).expect_err("nonsense");
        assert_eq!(
            fault.to_string(),
            "HEARTWHEEL_QUIET: invalid value 'maybe': choose from true, false"
        );
    }
}
