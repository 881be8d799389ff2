//! `heartwheel config`: the values in force and where they come from, and an example of a file.

use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Command, FromArgMatches};
use serde_json::{Map, json};

use crate::args::ServeArgs;
use crate::plan::{Setup, Sources};
use crate::settings::Settings;
use crate::settings::keys::{Keys, Scope};
use crate::shown::{self, Entry, Value};
use crate::{Failure, complain, stream, usage};

/// Prints every value that serve would use, and where it comes from: a line of the file, a variable, a flag,
/// or the default. What it prints is a configuration file itself
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// The configuration file, in TOML [default: what HEARTWHEEL_CONFIG names, if anything]
    file: Option<PathBuf>,

    /// Print an example of a file instead, with every key and what it means
    #[arg(long, conflicts_with = "file")]
    example: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Flags of serve that count too, behind --
    #[arg(last = true, value_name = "FLAGS OF SERVE")]
    flags: Vec<OsString>,
}

/// Runs the command.
pub(crate) fn run(args: &ConfigArgs) -> Result<ExitCode, Failure> {
    let text = if args.example {
        example()?
    } else {
        let setup = read(args.file.clone(), &args.flags)?;
        match args.json {
            true => as_json(&setup),
            false => as_toml(&setup),
        }
    };
    stream::print(text);
    Ok(ExitCode::SUCCESS)
}

/// Reads what `serve` would, and says what is odd. All that is wrong is told; the last fault is returned.
pub(crate) fn read(file: Option<PathBuf>, flags: &[OsString]) -> Result<Setup, Failure> {
    let keys = Keys::new();
    let serve = ServeArgs::augment_args(Command::new("serve").no_binary_name(true));
    let refused = |error: clap::Error| Failure::usage(usage::reason(&error, flags));
    let matches = serve.try_get_matches_from(flags).map_err(refused)?;
    let typed = ServeArgs::from_arg_matches(&matches).map_err(refused)?;
    let (sources, odd) = Sources::new(keys.given(&matches), file.or(typed.config))?;
    for warning in odd {
        complain(format_args!("warning: {warning}"));
    }
    let setup = sources.read().map_err(Failure::of_faults)?;
    for warning in &setup.warnings {
        complain(format_args!("warning: {warning}"));
    }
    Ok(setup)
}

fn as_toml(setup: &Setup) -> String {
    let mut text = String::new();
    for entry in shown::whole(&setup.whole) {
        line(&mut text, &entry, &setup.settings);
    }
    for plan in &setup.plans {
        text.push_str("\n[[listener]]\n");
        for entry in [shown::place(plan)]
            .into_iter()
            .chain(shown::listener(plan))
        {
            line(&mut text, &entry, &plan.settings);
        }
    }
    text
}

/// Adds one line: the key, its value, and where that comes from.
fn line(text: &mut String, (key, value): &Entry, settings: &Settings) {
    let origin = origin(key, settings);
    let line = match value {
        Value::None => format!("# {key} is not set"),
        value => format!("{key} = {value}"),
    };
    // Writing to a string does not fail.
    writeln!(text, "{line:<38} # {origin}").ok();
}

fn origin(key: &str, settings: &Settings) -> String {
    let given = |key: &str| settings.get(key).map(|setting| setting.origin.to_string());
    // One of these follows from the other.
    let follows = match key {
        "interval" => given("timeout").map(|_| "follows from timeout".to_owned()),
        "timeout" => given("interval").map(|_| "follows from interval".to_owned()),
        "send_queue" => given("max_message").map(|_| "follows from max_message".to_owned()),
        _ => None,
    };
    given(key).or(follows).unwrap_or_else(|| "default".into())
}

fn as_json(setup: &Setup) -> String {
    format!("{:#}\n", values(setup))
}

/// Returns all values in force, with their origins.
pub(crate) fn values(setup: &Setup) -> serde_json::Value {
    let object = |entries: Vec<Entry>, settings: &Settings| {
        let members = entries.into_iter().map(|(key, value)| {
            let value = match value {
                Value::Text(text) => json!(text),
                Value::Number(number) => json!(number),
                Value::Switch(is_on) => json!(is_on),
                Value::List(list) => json!(list),
                Value::None => json!(null),
            };
            let member = json!({ "value": value, "origin": origin(key, settings) });
            (key.to_owned(), member)
        });
        serde_json::Value::Object(members.collect::<Map<_, _>>())
    };
    let listeners = setup.plans.iter().map(|plan| {
        let place = [shown::place(plan)].into_iter();
        object(place.chain(shown::listener(plan)).collect(), &plan.settings)
    });
    let listeners: Vec<_> = listeners.collect();
    let whole = object(shown::whole(&setup.whole), &setup.settings);
    json!({ "whole": whole, "listeners": listeners })
}

/// Writes a file with every key, each out of force, and its meaning: what the help of the flags says.
fn example() -> Result<String, Failure> {
    let keys = Keys::new();
    let setup = Sources::none().read().map_err(Failure::of_faults)?;
    let websocket = &setup.plans[0];
    let mut values = shown::whole(&setup.whole);
    values.extend(shown::listener(websocket));
    let mut text = String::from(EXAMPLE_HEAD);
    for scope in [Scope::Whole, Scope::Listener] {
        text.push_str(match scope {
            Scope::Whole => EXAMPLE_WHOLE,
            Scope::Listener | Scope::Place => EXAMPLE_LISTENERS,
        });
        let mut heading = None;
        for arg in keys.args() {
            let key = arg.get_id().as_str();
            if keys.scope(key) != scope {
                continue;
            }
            let group = arg.get_help_heading();
            if scope == Scope::Listener && group != heading {
                heading = group;
                writeln!(text, "\n# {}", heading.unwrap_or("Messages")).ok();
            }
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            text.push('\n');
            comment(&mut text, &keys.in_keys(&help));
            let value = values.iter().find(|(shown, _)| *shown == key);
            match value.map(|(_, value)| value) {
                // The memory of the machine is nobody else's.
                Some(_) if key == "memory_limit" => text.push_str("#memory_limit = \"1GiB\"\n"),
                None | Some(Value::None) => {
                    let name = arg.get_value_names().and_then(|names| names.first());
                    let name = name.map_or("VALUE", |name| name.as_str());
                    writeln!(text, "# {key} = \"{name}\"").ok();
                }
                Some(value) => drop(writeln!(text, "#{key} = {value}")),
            }
        }
    }
    text.push_str(EXAMPLE_TABLES);
    Ok(text)
}

/// Adds a comment, in lines that are not too long.
fn comment(text: &mut String, said: &str) {
    let mut line = String::from("#");
    for word in said.split_whitespace() {
        if line.len() + word.len() >= WIDTH {
            text.push_str(&line);
            text.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    text.push_str(&line);
    text.push('\n');
}

/// Where lines of comments are broken.
const WIDTH: usize = 100;

const EXAMPLE_HEAD: &str = "\
# A configuration for `heartwheel serve --config FILE`, with every key. Those that begin with `#` directly before
# the key show the default; take the `#` away to change it.
#
# Each key is also a flag (max_message: --max-message) and an environment variable (HEARTWHEEL_MAX_MESSAGE,
# a list separated by commas). Flags count most, then variables, then the [[listener]] itself, then what is
# written above the first [[listener]], which is for all of them.
#
# heartwheel check FILE    looks for mistakes and for what is unwise
# heartwheel config FILE   prints all values in force, and where each comes from
# SIGHUP                   lets a server read it again; connections stay
";

const EXAMPLE_WHOLE: &str =
    "\n# The whole program: these keys stand above the first [[listener]].\n";

const EXAMPLE_LISTENERS: &str =
    "\n# What listeners do: above the first [[listener]] for all of them, in one for it alone.\n";

const EXAMPLE_TABLES: &str = "
# The listeners. Each has one address, by the wire that it speaks: ws, tcp, tcp_binary, tcp_raw, or over TLS wss,
# tls_tcp, tls_tcp_binary, tls_tcp_raw. An address is IP:PORT, unix:PATH, or fd:3 for a socket of systemd.

[[listener]]
ws = \"127.0.0.1:9001\"

[[listener]]
tcp = \"127.0.0.1:9002\"
";
