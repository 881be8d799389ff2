//! Servers of plain HTTP, made with Python's `http.server`: what they answer to `heartwheel connect`.

use crate::support::peers;
use crate::support::process::{Line, Process};
use crate::support::program;
use crate::{closed_event, open_event};

fn port(server: &Process) -> u64 {
    server.wait_for("listening", |line| {
        line.event("listening")?["port"].as_u64()
    })
}

fn connect(port: u64, path: &str, args: &[&str]) -> Process {
    let url = format!("ws://127.0.0.1:{port}{path}");
    program::start(&[&["connect", &url, "--json"], args].concat())
}

/// Returns a field of each event of that name, in their order.
fn all(process: &Process, event: &str, field: &str) -> Vec<String> {
    let lines = process.lines();
    let events = lines.iter().filter_map(|line| line.event(event));
    events.map(|event| event[field].to_string()).collect()
}

/// Returns a field of the first `count` requests. They are told before they are answered, but may reach us
/// later than what the client says.
fn requests(server: &Process, field: &str, count: usize) -> Vec<String> {
    let mut next = 0;
    let mut request = || {
        let told = |line: &Line| Some(line.event("request")?[field].to_string());
        let (at, value) = server.wait_past(next, "request", told);
        next = at + 1;
        value
    };
    (0..count).map(|_| request()).collect()
}

#[test]
#[ignore = "needs Python 3: install python3 and python3-venv"]
fn a_101_with_a_content_length_a_coding_or_folded_lines_opens() {
    let server = peers::http_server();
    for path in ["/zero", "/chunked", "/folded"] {
        let client = connect(port(&server), path, &["--no-reconnect"]);
        open_event(&client);
        let text = client.wait_for("message", |line| line.event("message").cloned());
        assert_eq!(text["text"], "hello", "{path}: {}", client.transcript());
        client.signal(rustix::process::Signal::INT);
        closed_event(&client);
    }
}

#[test]
#[ignore = "needs Python 3: install python3 and python3-venv"]
fn a_redirect_ends_the_client_and_tells_the_address() {
    let server = peers::http_server();
    for status in [301, 302, 303, 307, 308] {
        let mut client = connect(port(&server), &format!("/{status}?/zero"), &[]);
        let failed = client.wait_for("failed", |line| line.event("failed").cloned());
        let to = format!("ws://127.0.0.1:{}/zero", port(&server));
        assert_eq!(failed["to"], to, "{}", client.transcript());
        assert_eq!(failed["status"], status);
        let code = client.wait_exit().code();
        assert_eq!(code, Some(1), "{}", client.transcript());
        assert_eq!(all(&client, "dialing", "attempt"), ["1"]);
    }
    requests(&server, "path", 5);
    assert_eq!(all(&server, "request", "path").len(), 5);
}

#[test]
#[ignore = "needs Python 3: install python3 and python3-venv"]
fn with_follow_it_goes_there_and_keeps_credentials_to_itself() {
    let (first, second) = (peers::http_server(), peers::http_server());
    let there = format!("http://127.0.0.1:{}/zero", port(&second));
    let args = [
        "--follow",
        "--header",
        "Authorization: Bearer secret",
        "--header",
        "Cookie: a=secret",
    ];
    let client = connect(port(&first), &format!("/302?/307?{there}"), &args);
    open_event(&client);
    let redirected = all(&client, "redirected", "to");
    assert_eq!(redirected.len(), 2, "{}", client.transcript());
    let secret = "\"Bearer secret\"";
    assert_eq!(requests(&first, "authorization", 2), [secret; 2]);
    let seen = second.wait_for("request", |line| line.event("request").cloned());
    assert_eq!(seen["path"], "/zero");
    assert!(
        seen["authorization"].is_null() && seen["cookie"].is_null(),
        "{seen}"
    );
}

#[test]
#[ignore = "needs Python 3: install python3 and python3-venv"]
fn a_circle_ends_after_five_redirects() {
    let server = peers::http_server();
    let mut client = connect(port(&server), "/302?", &["--follow"]);
    let failed = client.wait_for("failed", |line| line.event("failed").cloned());
    let reason = failed["error"].as_str().unwrap();
    assert!(reason.contains("more than 5 redirects"), "{reason}");
    assert_eq!(client.wait_exit().code(), Some(1));
    requests(&server, "path", 6);
    assert_eq!(all(&server, "request", "path").len(), 6);
}

#[test]
#[ignore = "needs Python 3: install python3 and python3-venv"]
fn a_date_to_come_back_at_is_kept() {
    let server = peers::http_server();
    let client = connect(port(&server), "/busy", &[]);
    let delay = client.wait_for("retrying", |line| {
        line.event("retrying")?["delay_us"].as_u64()
    });
    // The server wrote whole seconds, and some time has passed since.
    assert!((200_000_000..=301_000_000).contains(&delay), "{delay}");
}

#[test]
#[ignore = "needs Python 3: install python3 and python3-venv"]
fn another_host_can_be_named_than_is_dialed() {
    let server = peers::http_server();
    let client = connect(
        port(&server),
        "/zero",
        &["--header", "Host: virtual.example"],
    );
    open_event(&client);
    assert_eq!(requests(&server, "host", 1), ["\"virtual.example\""]);
}
