//! Commands for operators, against the admin listener of a server: `conns`, `conn`, `closed`, `kick`, `drain`,
//! `reload`.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use heartwheel::proto::http::{HeadLimits, Response};
use heartwheel::reactor::ConnId;
use serde_json::Value;

use crate::listening::Place;
use crate::values::{escape, show_time, time};
use crate::{Failure, UNREACHABLE, stream};

/// Where the server is, and how the answer is shown.
#[derive(Clone, Debug, Args)]
pub(crate) struct AtFlags {
    /// The address of the admin listener: IP:PORT or unix:PATH
    #[arg(
        long,
        value_name = "ADDR",
        value_parser = Place::parse,
        default_value = "127.0.0.1:9003"
    )]
    admin: Place,

    /// Send the token in this file
    #[arg(long, value_name = "FILE")]
    token: Option<PathBuf>,

    /// Print what the server answers, as JSON
    #[arg(long)]
    json: bool,
}

/// Lists connections of a server
#[derive(Debug, Args)]
pub(crate) struct ConnsArgs {
    #[command(flatten)]
    at: AtFlags,

    /// Sort by age, idle, rtt, queued or memory, the largest first
    #[arg(long, value_name = "WHAT", default_value = "age")]
    sort: String,

    /// The smallest first
    #[arg(long)]
    reverse: bool,

    /// Show so many
    #[arg(long, value_name = "N", default_value = "20")]
    limit: usize,

    /// Leave out so many
    #[arg(long, value_name = "N", default_value = "0")]
    offset: usize,

    /// Only those of this listener, such as 'ws 127.0.0.1:9001'
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,

    /// Only those with this in their address
    #[arg(long, value_name = "TEXT")]
    peer: Option<String>,

    /// Only those that are opening, open, late or closing
    #[arg(long, value_name = "STATE")]
    state: Option<String>,

    /// Only those without a proof of life for so long
    #[arg(long, value_name = "TIME", value_parser = time)]
    idle: Option<Duration>,
}

/// Shows one connection of a server
#[derive(Debug, Args)]
pub(crate) struct ConnArgs {
    #[command(flatten)]
    at: AtFlags,

    /// Its id, such as 0.7
    id: ConnId,
}

/// Shows the last connections that ended, and why
#[derive(Debug, Args)]
pub(crate) struct ClosedArgs {
    #[command(flatten)]
    at: AtFlags,

    /// Show so many
    #[arg(long, value_name = "N", default_value = "20")]
    limit: usize,
}

/// Closes one connection of a server
#[derive(Debug, Args)]
pub(crate) struct KickArgs {
    #[command(flatten)]
    at: AtFlags,

    /// Its id, such as 0.7
    id: ConnId,
}

/// Closes all connections of a server, spread over a time, and ends it
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    at: AtFlags,

    /// The time [default: --drain of the server]
    #[arg(long, value_name = "TIME", value_parser = time)]
    window: Option<Duration>,
}

/// Lets a server read its configuration and certificates again
#[derive(Debug, Args)]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    at: AtFlags,
}

impl ConnsArgs {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let order = if self.reverse { "asc" } else { "desc" };
        let mut target = format!(
            "/api/conns?sort={}&order={order}&limit={}&offset={}",
            encoded(&self.sort),
            self.limit,
            self.offset
        );
        let idle = self.idle.map(|idle| format!("{}us", idle.as_micros()));
        for (key, value) in [
            ("listener", &self.listener),
            ("peer", &self.peer),
            ("state", &self.state),
            ("idle", &idle),
        ] {
            if let Some(value) = value {
                target.push_str(&format!("&{key}={}", encoded(value)));
            }
        }
        self.at.show("GET", &target, |answer| {
            let rows = answer["connections"].as_array();
            let rows: Vec<_> = rows.into_iter().flatten().collect();
            let shown = rows.len();
            let rows = rows.into_iter().map(|one| {
                let text = |key: &str| one[key].as_str().unwrap_or("-").to_owned();
                let span = |key: &str| one[key].as_u64().map_or_else(|| "-".into(), micros);
                vec![
                    text("id"),
                    text("peer"),
                    text("listener"),
                    text("state"),
                    span("age_us"),
                    span("idle_us"),
                    span("rtt_us"),
                    one["queued"].to_string(),
                ]
            });
            let heads = [
                "id", "peer", "listener", "state", "age", "idle", "rtt", "queued",
            ];
            format!("{}{shown} of {}\n", table(&heads, rows), answer["count"])
        })
    }
}

impl ConnArgs {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let target = format!("/api/conns/{}", self.id);
        self.at.show("GET", &target, members)
    }
}

impl ClosedArgs {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let target = format!("/api/closed?limit={}", self.limit);
        self.at.show("GET", &target, |answer| {
            let ends = answer["closed"].as_array().into_iter().flatten();
            let rows = ends.map(|end| {
                let text = |key: &str| end[key].as_str().unwrap_or("-").to_owned();
                let span = |key: &str| end[key].as_u64().map_or_else(|| "-".into(), micros);
                vec![
                    text("id"),
                    text("peer"),
                    text("listener"),
                    text("cause"),
                    text("side"),
                    span("age_us"),
                    span("last_proof_us"),
                ]
            });
            let heads = [
                "id",
                "peer",
                "listener",
                "cause",
                "side",
                "age",
                "last proof",
            ];
            table(&heads, rows)
        })
    }
}

impl KickArgs {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let target = format!("/api/kick?id={}", self.id);
        let said = format!("{} is closed\n", self.id);
        self.at.show("POST", &target, |_| said.clone())
    }
}

impl DrainArgs {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let window = self
            .window
            .map(|window| format!("?window={}us", window.as_micros()));
        let target = format!("/api/drain{}", window.unwrap_or_default());
        let said = "the server closes its connections and ends\n";
        self.at.show("POST", &target, |_| said.into())
    }
}

impl ReloadArgs {
    pub(crate) fn run(&self) -> Result<ExitCode, Failure> {
        let said = "what is other than before is in force; the server's events say what that is\n";
        self.at.show("POST", "/api/reload", |_| said.into())
    }
}

impl AtFlags {
    /// Asks, and prints the answer.
    fn show(
        &self,
        method: &str,
        target: &str,
        in_words: impl Fn(&Value) -> String,
    ) -> Result<ExitCode, Failure> {
        let (status, body) = self.ask(method, target)?;
        let answer: Value = serde_json::from_slice(&body).map_err(|_| self.stranger())?;
        if status != 200 {
            let said = answer["error"].as_str().unwrap_or("no reason is given");
            let hint = match status {
                401 | 403 if self.token.is_none() => "; add --token FILE",
                _ => "",
            };
            return Err(Failure::failed(format!("{said}{hint}")));
        }
        stream::print(match self.json {
            true => format!("{answer:#}\n"),
            false => in_words(&answer),
        });
        Ok(ExitCode::SUCCESS)
    }

    fn ask(&self, method: &str, target: &str) -> Result<(u16, Vec<u8>), Failure> {
        let answer = self
            .exchange(&self.request(method, target)?)
            .map_err(|error| Failure {
                code: UNREACHABLE,
                message: format!(
                    "no server answers on {}: {error}; start it with --admin {}",
                    self.admin, self.admin
                ),
            })?;
        let limits = HeadLimits::default();
        let Ok(Some((response, head))) = Response::parse(&answer, &limits) else {
            return Err(self.stranger());
        };
        Ok((response.status(), answer[head..].to_vec()))
    }

    fn request(&self, method: &str, target: &str) -> Result<String, Failure> {
        let token = match &self.token {
            None => String::new(),
            Some(file) => {
                let token = fs::read_to_string(file).map_err(|error| {
                    Failure::usage(format!(
                        "--token {}: cannot be read: {error}",
                        file.display()
                    ))
                })?;
                format!("Authorization: Bearer {}\r\n", token.trim())
            }
        };
        let host = match &self.admin {
            Place::Tcp(addr) => addr.to_string(),
            Place::Unix(_) | Place::Descriptor(_) => "localhost".into(),
        };
        Ok(format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\n{token}Connection: close\r\n\r\n"
        ))
    }

    /// Sends a request, and reads to the end.
    fn exchange(&self, request: &str) -> io::Result<Vec<u8>> {
        match &self.admin {
            Place::Tcp(addr) => {
                let stream = TcpStream::connect_timeout(addr, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                exchange_over(stream, request)
            }
            Place::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                exchange_over(stream, request)
            }
            Place::Descriptor(_) => {
                let said = "a descriptor is no address to dial";
                Err(io::Error::new(io::ErrorKind::InvalidInput, said))
            }
        }
    }

    fn stranger(&self) -> Failure {
        Failure::failed(format!(
            "what answers on {} is no admin listener of heartwheel",
            self.admin
        ))
    }
}

fn exchange_over(mut stream: impl Read + Write, request: &str) -> io::Result<Vec<u8>> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Writes what may stand in a query (RFC 3986, section 2.1).
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn micros(micros: u64) -> String {
    show_time(Duration::from_micros(micros))
}

/// Shows each member of an object in a line of its own.
fn members(object: &Value) -> String {
    let members = object.as_object().into_iter().flatten();
    let lines = members.map(|(key, value)| {
        let (key, value) = match (key.strip_suffix("_us"), value) {
            (Some(key), Value::Number(number)) => (
                key,
                number.as_u64().map_or_else(|| number.to_string(), micros),
            ),
            (_, Value::String(text)) => (key.as_str(), text.clone()),
            (_, value) => (key.as_str(), value.to_string()),
        };
        format!("{key:<16} {}\n", escape(&value))
    });
    lines.collect()
}

/// Puts rows under heads.
fn table(heads: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let heads = heads.iter().map(|head| (*head).to_owned()).collect();
    let rows: Vec<Vec<_>> = std::iter::once(heads).chain(rows).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..rows[0].len()).map(width).collect();
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(&widths);
        let cells = cells.map(|(cell, width)| format!("{:<width$}", escape(cell)));
        let line = cells.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    });
    lines.collect()
}

/// Time for a server to answer.
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them() {
        let rows = [
            vec!["0.7".to_owned(), "a\u{1b}b".to_owned()],
            vec!["1:0.12".into(), "-".into()],
        ];
        assert_eq!(
            table(&["id", "peer"], rows.into_iter()),
            "id      peer\n0.7     a\\u{1b}b\n1:0.12  -\n"
        );
    }

    #[test]
    fn a_query_is_written_so_that_it_is_read_again() {
        assert_eq!(
            encoded("ws [::1]:9001&a=b"),
            "ws%20%5B%3A%3A1%5D%3A9001%26a%3Db"
        );
    }

    #[test]
    fn members_are_in_words() {
        let object =
            serde_json::json!({ "age_us": 2_500_000, "peer": "a", "rtt_us": null, "queued": 0 });
        let said = members(&object);
        assert!(said.contains("age              2.5s\n"), "{said}");
        assert!(said.contains("queued           0\n"), "{said}");
    }
}
