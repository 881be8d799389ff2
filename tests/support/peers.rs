//! Clients and servers that others wrote, each in a process of its own. They tell what happens in
//! JSON, and take commands on their input; their scripts in `tests/peers` say which.

use std::fs;
use std::path::Path;
use std::process::Command;

use rustix::process::Pid;

use super::place::Place;
use super::process::Process;
use super::tools;

/// A client made with Python's `websockets` that may offer a subprotocol.
pub(crate) fn python_client(url: &str, subprotocol: Option<&str>) -> Process {
    let mut command = tools::python("websockets_peer.py");
    command.args(["client", url]).args(subprotocol);
    Process::spawn(&mut command, "")
}

/// The same over TLS; it believes nobody but this root, if any.
pub(crate) fn python_client_believing(url: &str, root: Option<&Path>) -> Process {
    let mut command = tools::python("websockets_peer.py");
    let root = root.unwrap_or_else(|| Path::new("/dev/null"));
    command.args(["client", url]).env("SSL_CERT_FILE", root);
    Process::spawn(&mut command, "")
}

/// The same with Node's `ws`.
pub(crate) fn node_client(url: &str, subprotocol: Option<&str>) -> Process {
    let mut command = tools::node("ws_peer.mjs", "ws");
    command.args(["client", url]).args(subprotocol);
    Process::spawn(&mut command, "")
}

/// The same over TLS; beside the roots that it brings, it believes this one.
pub(crate) fn node_client_believing(url: &str, root: Option<&Path>) -> Process {
    let mut command = tools::node("ws_peer.mjs", "ws");
    command.args(["client", url]);
    command.envs(root.map(|root| ("NODE_EXTRA_CA_CERTS", root)));
    Process::spawn(&mut command, "")
}

/// The same as a page in headless Chromium, but for the commands that a page cannot obey.
pub(crate) fn chromium_client(url: &str, subprotocol: Option<&str>) -> Process {
    chromium(url, subprotocol, Place::new())
}

/// The same over TLS; beside the roots that it brings, it believes this one.
pub(crate) fn chromium_client_believing(url: &str, root: Option<&Path>) -> Process {
    let place = Place::new();
    if let Some(root) = root {
        let store = place.path().join(".pki/nssdb");
        fs::create_dir_all(&store).unwrap();
        for args in [
            &["-N", "--empty-password"][..],
            &["-A", "-n", "root", "-t", "C,,", "-i"],
        ] {
            let mut certutil = Command::new("certutil");
            certutil
                .arg("-d")
                .arg(format!("sql:{}", store.display()))
                .args(args);
            certutil.args(args.ends_with(&["-i"]).then_some(root));
            let status = certutil.status();
            let status = status.expect("no certutil: install the package libnss3-tools");
            assert!(status.success(), "{certutil:?}: {status}");
        }
    }
    chromium(url, None, place)
}

fn chromium(url: &str, subprotocol: Option<&str>, place: Place) -> Process {
    let browser = tools::chromium();
    let mut command = tools::node("chromium_peer.mjs", "playwright-core");
    command.arg(browser).arg(url).args(subprotocol);
    // All that it writes, also in the home directory.
    for variable in ["HOME", "TMPDIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
        command.env(variable, place.path());
    }
    let process = Process::spawn(&mut command, "").keeping(place);
    let group = process.wait_for("browser", |line| {
        let pid = line.event("browser")?["pid"].as_i64()?;
        Pid::from_raw(pid.try_into().ok()?)
    });
    process.acting_by(group)
}

/// A server made with Python's `websockets`.
pub(crate) fn python_server() -> Process {
    Process::spawn(tools::python("websockets_peer.py").arg("server"), "")
}

/// The same over TLS, with the files of a certificate and its key.
pub(crate) fn python_server_showing(pair: [&str; 2]) -> Process {
    let mut command = tools::python("websockets_peer.py");
    Process::spawn(command.arg("server").args(pair), "")
}

/// The same with Node's `ws`.
pub(crate) fn node_server_showing(pair: [&str; 2]) -> Process {
    let mut command = tools::node("ws_peer.mjs", "ws");
    Process::spawn(command.arg("server").args(pair), "")
}

/// A server made with Python's `http.server`; its script says which path has which answer.
pub(crate) fn http_server() -> Process {
    Process::spawn(&mut tools::python("http_server.py"), "")
}

/// The same with Node's `ws`.
pub(crate) fn node_server() -> Process {
    Process::spawn(tools::node("ws_peer.mjs", "ws").arg("server"), "")
}

/// A client of MQTT made with Python's `paho-mqtt`.
pub(crate) fn mqtt_client(port: u16, name: &str) -> Process {
    let mut command = tools::python("mqtt_peer.py");
    Process::spawn(command.arg(port.to_string()).arg(name), "")
}

/// A client of Redis made with Python's `redis`.
pub(crate) fn redis_client(port: u16, password: &str) -> Process {
    let mut command = tools::python("redis_peer.py");
    Process::spawn(command.arg(port.to_string()).arg(password), "")
}

/// A client of STOMP made with Python's `stomp.py`.
pub(crate) fn stomp_client(port: u16) -> Process {
    Process::spawn(tools::python("stomp_peer.py").arg(port.to_string()), "")
}

/// What a strict parser of OpenMetrics reads at an address.
pub(crate) fn openmetrics(url: &str) -> Process {
    Process::spawn(tools::python("openmetrics_peer.py").arg(url), "")
}

/// A client of the binary wire over plain TCP.
pub(crate) fn raw_tcp_script(port: u16) -> Process {
    Process::spawn(tools::python("binary_client.py").arg(port.to_string()), "")
}

/// `nc`, with nobody at its keyboard yet. Its output ends when its input does.
pub(crate) fn netcat(port: u16) -> Process {
    let mut command = Command::new("nc");
    command.args(["-N", "127.0.0.1", &port.to_string()]);
    Process::spawn(&mut command, "install the package netcat-openbsd")
}
