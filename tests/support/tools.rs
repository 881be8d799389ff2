//! Finds the programs of others that tests run. Missing packages are installed below the target
//! directory; where that fails, so does the test, and says what to do.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Once, OnceLock};

/// What to run where the clients of others are missing.
const INSTALL: &str = "run `bash tests/peers/install`";

/// What the scripts in Python need.
const IMPORTED: &str =
    "import websockets.asyncio.client, paho.mqtt.enums, redis, stomp, prometheus_client";

/// Returns where `tests/peers/install` puts packages: below the target directory.
fn installed() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers")
}

pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/peers")
        .join(name)
}

/// Looks for something; if it is not there, installs the packages, once, and looks again.
fn find_or_install<T>(look: impl Fn() -> Option<T>) -> Option<T> {
    static INSTALLED: Once = Once::new();
    look().or_else(|| {
        INSTALLED.call_once(|| {
            // Its own words stay visible, and what it lacks is told by the one who needed it.
            let _status = Command::new("bash").arg(script("install")).status();
        });
        look()
    })
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Returns a command that runs a Python script of `tests/peers` where the packages that they use can be
/// imported.
pub(crate) fn python(name: &str) -> Command {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let look = || {
        [
            installed().join("venv/bin/python"),
            PathBuf::from("python3"),
        ]
        .into_iter()
        .find(|python| succeeds(Command::new(python).args(["-c", IMPORTED])))
    };
    let found = FOUND.get_or_init(|| find_or_install(look));
    let Some(python) = found else {
        panic!(
            "no Python 3 with `websockets` (14 or later), `paho-mqtt`, `redis`, `stomp.py` and \
             `prometheus-client`: {INSTALL}"
        );
    };
    let mut command = Command::new(python);
    command.arg(script(name));
    command
}

/// Returns a command that runs a Node script of `tests/peers` where a package can be required.
pub(crate) fn node(name: &str, package: &str) -> Command {
    let look = || {
        // Where `npm install` leaves it in a checkout, too.
        [installed(), PathBuf::from(env!("CARGO_MANIFEST_DIR"))]
            .into_iter()
            .find(|place| {
                let modules = place.join("node_modules");
                modules.join(package).join("package.json").is_file()
            })
    };
    assert!(
        succeeds(Command::new("node").arg("--version")),
        "no `node`: install the package nodejs, then {INSTALL}"
    );
    let Some(place) = find_or_install(look) else {
        panic!("no npm package `{package}`: {INSTALL}");
    };
    let mut command = Command::new("node");
    command.arg(script(name)).env("PEER_PACKAGES", place);
    command
}

/// Returns the Python 2.7 that has the Autobahn Testsuite, as a command that wants its arguments.
pub(crate) fn autobahn() -> Command {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let base = installed().join("autobahn");
    let python = |path: &Path| {
        let mut command = Command::new(path);
        command.env("PYTHONUSERBASE", &base);
        command
    };
    let look = || {
        let path = base.join("python");
        succeeds(python(&path).args(["-c", "import autobahntestsuite"])).then_some(path)
    };
    let found = FOUND.get_or_init(|| find_or_install(look));
    let Some(path) = found else {
        panic!("no Autobahn Testsuite, which needs Python 2.7 with pip: {INSTALL}");
    };
    python(path)
}

/// Returns where the browser is.
pub(crate) fn chromium() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .flat_map(|place| CHROMIUM.map(|name| place.join(name)))
        .find(|browser| browser.is_file())
        .unwrap_or_else(|| panic!("none of {CHROMIUM:?}: install the package chromium"))
}

/// The names that the browser goes by, the best liked first.
const CHROMIUM: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
