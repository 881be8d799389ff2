//! What is wrong with a command line, in one line.

use std::env;
use std::error::Error as _;
use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::time::Instant;

use clap::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::stream::{self, LAST_MOMENT};
use crate::values::escape;
use crate::{USAGE, complain};

/// Says what is wrong with the command line, in one line; prints help and version as they are.
pub(crate) fn refuse(error: &Error) -> ExitCode {
    let is_asked_for = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if is_asked_for {
        print(error);
    } else {
        let typed: Vec<_> = env::args_os().skip(1).collect();
        complain(format_args!("{}", one_line(error, &typed)));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(USAGE))
}

/// Prints what was asked for, in colours where clap would.
fn print(error: &Error) {
    let is_empty = |name| env::var_os(name).is_none_or(|value| value.is_empty());
    let has_colours = is_empty("NO_COLOR") && env::var_os("TERM").is_none_or(|it| it != "dumb");
    let (is_terminal, stream) = match error.use_stderr() {
        true => (io::stderr().is_terminal(), stream::errors().cloned()),
        false => (io::stdout().is_terminal(), stream::help()),
    };
    let help = error.render();
    let help = match is_terminal && has_colours {
        true => help.ansi().to_string(),
        false => help.to_string(),
    };
    // Nobody is left to tell if even this cannot be printed.
    if let Some(stream) = stream {
        stream.push_in_any_case(help);
        stream.finish(Instant::now(), LAST_MOMENT, || true);
    }
}

/// Puts a usage error into one line: what was typed, what is wrong with it, and what may have been meant.
fn one_line(error: &Error, typed: &[OsString]) -> String {
    escape(&format!("error: {} (try --help)", reason(error, typed)))
}

/// Says what is wrong, in one line.
pub(crate) fn reason(error: &Error, typed: &[OsString]) -> String {
    said(error, typed).unwrap_or_else(|| drawn_together(&error.to_string()))
}

/// Says it in words of ours; `None` for a kind of error that has none.
fn said(error: &Error, typed: &[OsString]) -> Option<String> {
    let what = |kind| error.get(kind).map(in_words);
    let arg = || what(ContextKind::InvalidArg);
    let value = || what(ContextKind::InvalidValue);
    Some(match error.kind() {
        ErrorKind::MissingRequiredArgument => format!("{} is missing", arg()?),
        // Without a value there was none to judge.
        ErrorKind::InvalidValue if value().is_none_or(|value| value.is_empty()) => {
            format!("{} needs a value{}", arg()?, choices(error))
        }
        ErrorKind::InvalidValue => {
            let (arg, value, choices) = (arg()?, value()?, choices(error));
            let meant = meant(error, ContextKind::SuggestedValue);
            format!("invalid value '{value}' for {arg}{choices}{meant}")
        }
        ErrorKind::ValueValidation => {
            let (arg, value, reason) = (arg()?, value()?, error.source()?);
            let value = without_login(&value);
            format!("invalid value '{value}' for {arg}: {reason}")
        }
        ErrorKind::TooManyValues => format!("{} takes no value, but got '{}'", arg()?, value()?),
        ErrorKind::ArgumentConflict => match what(ContextKind::PriorArg) {
            Some(prior) if prior != arg()? => format!("{} cannot go with {prior}", arg()?),
            _ => format!("{} may be given only once", arg()?),
        },
        ErrorKind::UnknownArgument => {
            let arg = arg()?;
            match flag_before(&arg, typed) {
                Some(flag) => format!("invalid value '{arg}' for {flag}: must not be negative"),
                None => {
                    let meant = meant(error, ContextKind::SuggestedArg);
                    let arg = without_login(&arg);
                    format!("unexpected argument '{arg}'{meant}")
                }
            }
        }
        ErrorKind::InvalidSubcommand => {
            let meant = meant(error, ContextKind::SuggestedSubcommand);
            let name = what(ContextKind::InvalidSubcommand)?;
            format!("there is no command '{name}'{meant}")
        }
        ErrorKind::InvalidUtf8 => {
            let garbled = typed.iter().find(|arg| arg.to_str().is_none())?;
            let garbled = garbled.to_string_lossy();
            format!("the argument '{}' is not UTF-8", without_login(&garbled))
        }
        _ => return None,
    })
}

/// Hides what stands before an `@`: in a URL it may be a password, and errors are often logged.
fn without_login(typed: &str) -> String {
    let Some((front, rest)) = typed.rsplit_once('@') else {
        return typed.to_owned();
    };
    let scheme = front.find("://").map_or("", |end| &front[..end + 3]);
    format!("{scheme}***@{rest}")
}

fn in_words(value: &ContextValue) -> String {
    match value {
        ContextValue::Strings(names) => names.join(" and "),
        value => value.to_string(),
    }
}

/// Lists what there is to choose from, if that is little.
fn choices(error: &Error) -> String {
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(choices)) if !choices.is_empty() => {
            format!(": choose from {}", choices.join(", "))
        }
        _ => String::new(),
    }
}

/// Asks whether the likeliest of what is alike was meant.
fn meant(error: &Error, kind: ContextKind) -> String {
    let likeliest = match error.get(kind) {
        Some(ContextValue::Strings(names)) => names.first(),
        Some(ContextValue::String(name)) => Some(name),
        _ => None,
    };
    likeliest.map_or_else(String::new, |name| format!("; did you mean '{name}'?"))
}

/// Returns the flag that a negative number was meant for: it looks like a flag itself.
fn flag_before<'a>(arg: &str, typed: &'a [OsString]) -> Option<&'a str> {
    let is_negative = |arg: &str| {
        let number = arg.strip_prefix('-');
        number.is_some_and(|number| number.starts_with(|letter: char| letter.is_ascii_digit()))
    };
    // Of what begins like a short flag only that much is named: `-5` of `-5s`.
    let place = typed.iter().position(|typed| {
        let typed = typed.to_str();
        typed.is_some_and(|typed| is_negative(typed) && typed.starts_with(arg))
    })?;
    let before = typed.get(place.checked_sub(1)?)?.to_str()?;
    (before.starts_with("--") && !before.contains('=')).then_some(before)
}

/// Draws the paragraphs of an error together, without the usage itself.
fn drawn_together(rendered: &str) -> String {
    let said: Vec<_> = rendered
        .trim_start_matches("error: ")
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    said.join("; ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::Cli;

    #[track_caller]
    fn line(args: &[&str]) -> String {
        let typed: Vec<_> = args.iter().map(OsString::from).collect();
        let all = [&["heartwheel"], args].concat();
        let error = Cli::try_parse_from(all).expect_err("nonsense");
        assert_eq!(error.exit_code(), i32::from(USAGE));
        one_line(&error, &typed)
    }

    #[test]
    fn each_kind_of_mistake_is_one_clear_line() {
        for (args, said) in [
            (&["connect"][..], "<URL> is missing"),
            (&["serve", "--interval"], "--interval <TIME> needs a value"),
            (
                &["serve", "--mode"],
                "--mode <MODE> needs a value: choose from echo, sink, broadcast",
            ),
            (
                &["serve", "--mode", "ecko"],
                "invalid value 'ecko' for --mode <MODE>: choose from echo, sink, broadcast; did you mean \
                 'echo'?",
            ),
            (
                &["serve", "--interval", "5"],
                "invalid value '5' for --interval <TIME>: needs a unit, such as 5s or 5ms",
            ),
            (
                &["serve", "--interval", "-5s"],
                "invalid value '-5' for --interval: must not be negative",
            ),
            (
                &["connect", "--count", "-1", "ws://localhost"],
                "invalid value '-1' for --count: must not be negative",
            ),
            (
                &["serve", "--intervall", "1s"],
                "unexpected argument '--intervall'; did you mean '--interval'?",
            ),
            (&["serve", "extra"], "unexpected argument 'extra'"),
            (
                &["connect", "--proxy", "me:se@cret@proxy:1", "ws://a"],
                "invalid value '***@proxy:1' for --proxy <URL>: needs a scheme: http://, socks5h:// or socks5://, or off",
            ),
            (
                &["connect", "ws://a", "http://me:secret@proxy"],
                "unexpected argument 'http://***@proxy'",
            ),
            (
                &["serve", "--quiet=1"],
                "--quiet takes no value, but got '1'",
            ),
            (
                &["serve", "--quiet", "--quiet"],
                "--quiet may be given only once",
            ),
            (
                &["serf"],
                "there is no command 'serf'; did you mean 'serve'?",
            ),
            (&["a\nb"], "there is no command 'a\\nb'"),
        ] {
            assert_eq!(line(args), format!("error: {said} (try --help)"));
        }
    }
}
