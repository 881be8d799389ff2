//! The house rule of the tree: the core is pure, the clock is read in one place, imports point down.
//!
//! The sources themselves are read, without comments, strings and unit tests. At the end the table of
//! these tests is held to what is there.

#![allow(clippy::unwrap_used)]

#[expect(dead_code, reason = "it has no table of its own")]
#[path = "support/table.rs"]
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The one file that looks at the wall clock, and who may ask it: only what writes and reads heads of HTTP.
const CALENDAR: &str = "sys::calendar";

/// The other one that does, for the dates in certificates.
const CERTIFICATES_CALENDAR: &str = "tls::calendar";

const ASKS_FOR_THE_DATE: [&str; 2] = ["sys", "sys::native"];

/// What the core must not name: sockets, files, clocks, threads, logs.
const FORBIDDEN: [&str; 14] = [
    "mio",
    "socket2",
    "log",
    "net",
    "fs",
    "env",
    "process",
    "thread",
    "os",
    "Instant",
    "SystemTime",
    "Read",
    "Write",
    "BufRead",
];

/// The layers of the architecture chapter, lowest first; what stands together may name each other.
const LAYERS: [&[&str]; 8] = [
    &[
        "config",
        "error",
        "close",
        "network",
        "peer",
        "sizes",
        "stats",
        "proto::prefetch",
        "proto::time",
        "proto::wire",
    ],
    &[
        "proto::wheel",
        "proto::copy",
        "proto::ring",
        "proto::authority",
        "proto::utf8",
        "proto::pool",
        "proto::backoff",
        "proto::bucket",
        "proto::lateness",
        "proto::flags",
        "proto::policy",
        "proto::assembly",
        "proto::shares",
        "proto::tally",
        "proto::received",
        "proto::deflate",
    ],
    &[
        "proto::line",
        "proto::binary",
        "proto::http",
        "proto::websocket",
        "proto::tunnel",
        "proto::codec",
        "proto::line_codec",
        "proto::message",
        "proto::outbox",
        "proto::proxy_header",
    ],
    &["proto::heartbeat", "proto::session"],
    &["tls"],
    &["sys"],
    &["event_loop"],
    &["reactor"],
];

/// One file of the library.
struct Source {
    /// Its module, as in `["proto", "websocket", "frame"]`.
    module: Vec<String>,
    tokens: Vec<String>,
}

impl Source {
    fn name(&self) -> String {
        self.module.join("::")
    }

    fn names(&self, word: &str) -> bool {
        self.tokens.iter().any(|token| token == word)
    }

    fn layer(&self) -> Option<usize> {
        layer(&self.module)
    }

    /// Lists the paths into this crate that the file names, from its root.
    fn paths(&self) -> Vec<Vec<String>> {
        let mut paths = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            // Who may see something is no import.
            let is_visibility = match self.tokens[..at] {
                [.., ref first, ref second] if second == "in" => first == "(",
                [.., ref last] => last == "(" && self.token(at + 1) == ")",
                [] => false,
            };
            let mut base = match self.tokens[at].as_str() {
                _ if is_visibility => {
                    at += 1;
                    continue;
                }
                "crate" => Vec::new(),
                "super" => self.module[..self.module.len() - 1].to_vec(),
                _ => {
                    at += 1;
                    continue;
                }
            };
            at += 1;
            while self.token(at) == "::" && is_name(self.token(at + 1)) {
                match self.token(at + 1) {
                    "super" => drop(base.pop()),
                    name => base.push(name.to_owned()),
                }
                at += 2;
            }
            if self.token(at) == "::" && self.token(at + 1) == "{" {
                // Only the first names within the braces matter: nothing is grouped above a module.
                let mut depth = 0;
                at += 1;
                loop {
                    match self.token(at) {
                        "{" => depth += 1,
                        "}" => depth -= 1,
                        name if depth == 1 && is_name(name) && self.token(at - 1) != "::" => {
                            paths.push([base.as_slice(), &[name.to_owned()]].concat());
                        }
                        _ => {}
                    }
                    at += 1;
                    if depth == 0 {
                        break;
                    }
                }
            } else {
                paths.push(base);
            }
        }
        paths
    }

    /// Returns the path, from here, of a name that this file has from a file below it and passes on.
    fn passes_on(&self, name: &str) -> Option<Vec<String>> {
        let mut uses = self.uses_below();
        uses.find_map(|(is_passed_on, path)| {
            (is_passed_on && path[1..].iter().any(|token| token == name))
                .then(|| vec![path[0].clone(), name.to_owned()])
        })
    }

    /// Lists the paths, from here, of the names that this file has from files below it and uses itself.
    fn names_below(&self) -> Vec<Vec<String>> {
        let occurs = |name: &String| self.tokens.iter().filter(|&token| token == name).count();
        let names = self.uses_below().flat_map(|(_, path)| {
            let names = path[1..].iter().filter(|token| is_name(token));
            names.map(move |name| vec![path[0].clone(), name.clone()])
        });
        names.filter(|path| occurs(&path[1]) > 1).collect()
    }

    /// Lists what is imported from below: whether it is passed on, and all that the statement says.
    fn uses_below(&self) -> impl Iterator<Item = (bool, &[String])> {
        let uses = (0..self.tokens.len()).filter(|&at| self.tokens[at] == "use");
        uses.filter_map(|at| {
            let is_passed_on = at > 0 && matches!(self.token(at - 1), "pub" | ")");
            let statement = self.tokens[at + 1..].split(|token| token == ";").next()?;
            let path = statement.strip_prefix(&["self".into(), "::".into()]);
            let path = path.unwrap_or(statement);
            let is_below = !path.is_empty() && path[0] != "crate" && path[0] != "super";
            is_below.then_some((is_passed_on, path))
        })
    }

    fn token(&self, at: usize) -> &str {
        self.tokens.get(at).map_or("", String::as_str)
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
}

fn layer(path: &[String]) -> Option<usize> {
    let name = match path.first().map(String::as_str)? {
        "proto" => format!("proto::{}", path.get(1)?),
        top => top.to_owned(),
    };
    LAYERS
        .iter()
        .position(|layer| layer.contains(&name.as_str()))
}

/// The files of the library by their modules.
type Files = BTreeMap<Vec<String>, Source>;

/// Returns the module of the file that a path leads to, if it leads to one of the library's. What a `mod.rs`
/// passes on is a name of the file that it comes from.
fn file_of<'a>(files: &'a Files, path: &[String]) -> Option<&'a Vec<String>> {
    let (module, source) = (1..=path.len())
        .rev()
        .find_map(|len| files.get_key_value(&path[..len]))?;
    let passed_on = path
        .get(module.len())
        .and_then(|name| source.passes_on(name))
        .map(|below| [module.as_slice(), &below].concat())
        .filter(|below| files.contains_key(&below[..=module.len()]));
    match passed_on {
        Some(below) => file_of(files, &below),
        None => Some(module),
    }
}

/// Returns the modules of the other files that a file names.
fn named_by<'a>(files: &'a Files, source: &Source) -> BTreeSet<&'a Vec<String>> {
    let below = source.names_below().into_iter();
    let below = below.map(|path| [source.module.as_slice(), &path].concat());
    let below = below.filter(|path| files.contains_key(&path[..=source.module.len()]));
    let paths = source.paths().into_iter().chain(below);
    paths
        .filter_map(|path| file_of(files, &path))
        .filter(|&other| *other != source.module)
        .collect()
}

/// Returns every file of the library but its documentation chapters and its unit tests.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    table::sources(&root, &mut files);
    files
        .into_iter()
        .filter_map(|file| {
            let relative = file.strip_prefix(&root).unwrap().with_extension("");
            let mut module: Vec<String> = relative
                .iter()
                .map(|part| part.to_str().unwrap().to_owned())
                .collect();
            let last = module.last().unwrap().as_str();
            let is_left_out =
                ["bin", "guide"].contains(&module[0].as_str()) || ["tests", "lib"].contains(&last);
            if last == "mod" {
                module.pop();
            }
            (!is_left_out).then(|| Source {
                module,
                tokens: tokens(&fs::read_to_string(&file).unwrap()),
            })
        })
        .collect()
}

/// Cuts code into names, `::` and single characters, up to the unit tests at its end.
fn tokens(text: &str) -> Vec<String> {
    let code = text.split("\nmod tests {").next().unwrap();
    let mut tokens = Vec::new();
    for line in code.lines() {
        let mut rest = line.split("//").next().unwrap().trim_start();
        while let Some(first) = rest.chars().next() {
            let len = if is_name(rest) {
                rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap_or(rest.len())
            } else if first == '"' {
                // A string that goes on in the next line is cut at the end of this one.
                rest[1..].find('"').map_or(rest.len(), |end| end + 2)
            } else if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            if first != '"' {
                tokens.push(rest[..len].to_owned());
            }
            rest = rest[len..].trim_start();
        }
    }
    tokens
}

#[test]
fn the_core_names_no_socket_no_clock_no_thread_and_no_log() {
    let mut count = 0;
    for source in sources() {
        if source.module[0] == "proto" {
            count += 1;
            for word in FORBIDDEN {
                // The embedder's surroundings of a session are called so, too.
                let is_own = word == "env" && source.module[1..].starts_with(&["session".into()]);
                assert!(
                    !source.names(word) || is_own,
                    "{} names {word}",
                    source.name()
                );
            }
        }
    }
    assert!(count > 20, "the core was not found: {count} files");
}

#[test]
fn one_file_reads_the_clock() {
    let readers: Vec<String> = sources()
        .iter()
        .filter(|source| source.names("Instant") || source.names("SystemTime"))
        .map(Source::name)
        .collect();
    let mut readers = readers;
    readers.sort_unstable();
    assert_eq!(readers, [CALENDAR, "sys::clock", CERTIFICATES_CALENDAR]);
}

/// Dates of HTTP and of certificates are of the wall clock, deadlines are not: who sets it must not touch them.
#[test]
fn f8_only_dates_are_of_the_wall_clock() {
    for source in sources() {
        let name = source.name();
        if source.module[0] == "tls" {
            // Of its own calendar nothing leaves the module but whether a certificate is valid.
            let is_calendar = name == CERTIFICATES_CALENDAR;
            assert!(is_calendar || !source.names("SystemTime"), "{name}");
            continue;
        }
        assert!(!source.names("UnixTime"), "{name} names UnixTime");
        for word in ["SystemTime", "Realtime"] {
            assert!(
                !source.names(word) || name == CALENDAR,
                "{name} names {word}"
            );
        }
        let writes_dates = [CALENDAR, "proto::http::date"].contains(&name.as_str());
        assert!(
            !source.names("UNIX_EPOCH") || writes_dates,
            "{name} names UNIX_EPOCH"
        );
        let is_asking = source.names("calendar") && name != CALENDAR;
        assert!(
            !is_asking || ASKS_FOR_THE_DATE.contains(&name.as_str()),
            "{name} asks for the date"
        );
    }
}

#[test]
fn mio_lives_in_the_system_and_in_the_reactor_and_the_log_nowhere_below() {
    let places = [
        ("mio", &["sys", "reactor"][..]),
        ("socket2", &["sys"]),
        ("slab", &["event_loop"]),
        ("log", &["sys", "event_loop", "reactor"]),
    ];
    for source in sources() {
        for (word, homes) in places {
            assert!(
                !source.names(word) || homes.contains(&source.module[0].as_str()),
                "{} names {word}",
                source.name()
            );
        }
    }
}

#[test]
fn imports_point_down() {
    for source in sources() {
        if source.module == ["proto"] {
            continue;
        }
        let own = source
            .layer()
            .unwrap_or_else(|| panic!("{} is in no layer", source.name()));
        for path in source.paths() {
            let Some(other) = layer(&path) else { continue };
            assert!(
                other <= own,
                "{} (layer {own}) names {} (layer {other})",
                source.name(),
                path.join("::"),
            );
        }
    }
}

#[test]
fn the_plain_wires_do_not_know_each_other() {
    for wire in ["line", "binary", "websocket"] {
        assert_names_no_wire(wire);
    }
}

/// What makes configurations of TLS serves any loop over any socket.
#[test]
fn tls_knows_no_loop_and_no_socket() {
    let mut count = 0;
    for source in sources() {
        if source.module[0] == "tls" {
            count += 1;
            for word in ["net", "mio", "socket2", "thread", "TcpStream"] {
                assert!(!source.names(word), "{} names {word}", source.name());
            }
        }
    }
    assert!(count > 5, "it was not found: {count} files");
}

/// WebSocket begins with HTTP, and HTTP knows nothing of it.
#[test]
fn http_knows_no_wire() {
    assert_names_no_wire("http");
}

/// Claims that a part of the core looks at no wire beside itself.
fn assert_names_no_wire(own: &str) {
    let wires = ["line", "binary", "websocket"];
    let mut count = 0;
    for source in sources() {
        if !source.module[1..].starts_with(&[own.to_owned()]) || source.module[0] != "proto" {
            continue;
        }
        count += 1;
        for path in source.paths() {
            if let [proto, other, ..] = &path[..]
                && proto == "proto"
                && wires.contains(&other.as_str())
            {
                assert_eq!(own, other, "{} looks sideways", source.name());
            }
        }
    }
    assert!(count > 0, "{own} was not found");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = sources().into_iter();
    let files: Files = sources
        .map(|source| (source.module.clone(), source))
        .collect();
    let mut left: BTreeMap<_, _> = files
        .iter()
        .map(|(module, source)| (module, named_by(&files, source)))
        .collect();
    // Whoever names nobody that is left, or is named by nobody, is in no circle.
    loop {
        let named: BTreeSet<_> = left.values().flatten().copied().collect();
        let (before, all) = (left.len(), left.keys().copied().collect::<BTreeSet<_>>());
        left.retain(|module, names| named.contains(*module) && !names.is_disjoint(&all));
        if left.len() == before {
            break;
        }
    }
    let circles: Vec<_> = left
        .iter()
        .map(|(module, named)| {
            let names = named.iter().filter(|other| left.contains_key(**other));
            let names: Vec<_> = names.map(|other| other.join("::")).collect();
            format!("{} names {}", module.join("::"), names.join(", "))
        })
        .collect();
    assert!(
        circles.is_empty(),
        "in a circle, or between two: {circles:#?}"
    );
}

#[test]
fn every_file_and_folder_of_tests_stands_in_their_table_once() {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let table = fs::read_to_string(place.join("README.md")).unwrap();
    let (_, table) = table.split_once("\n## Files and folders\n").unwrap();
    let (table, _) = table.split_once("\n## ").unwrap();
    let mut told: Vec<_> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect();
    told.sort_unstable();
    let entries = fs::read_dir(place).unwrap().map(|entry| entry.unwrap());
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let mut there: Vec<_> = names.filter(|name| name != "README.md").collect();
    there.sort_unstable();
    assert_eq!(told, there);
}

/// Whoever runs such a test, or reads that it was left out, must learn what it takes.
#[test]
fn every_test_that_one_must_ask_for_says_what_it_needs() {
    let mut files = Vec::new();
    for folder in ["src", "tests"] {
        table::sources(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join(folder),
            &mut files,
        );
    }
    let mut count = 0;
    for file in files {
        let source = fs::read_to_string(&file).unwrap();
        let lines = source.lines().map(str::trim);
        for line in lines.filter(|line| line.starts_with("#[ignore")) {
            let reason = line.strip_prefix("#[ignore = \"needs ");
            let reason = reason.unwrap_or_else(|| panic!("{}: {line}", file.display()));
            let is_time = reason.starts_with("a minute\"");
            assert!(
                is_time || reason.contains(": "),
                "{}: {line}",
                file.display()
            );
            count += 1;
        }
    }
    assert!(count > 40, "{count} such tests");
}
