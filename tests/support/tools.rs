//! Finds the programs of others that tests run; a missing one is a failure that says what to install.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What to run where the clients of others are missing.
const INSTALL: &str = "run `bash tests/peers/install`";

/// Returns where `tests/peers/install` puts packages: below the target directory.
fn installed() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers")
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/peers")
        .join(name)
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Returns a command that runs a Python script of `tests/peers` where `websockets` can be imported.
pub(crate) fn python(name: &str) -> Command {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        [
            installed().join("venv/bin/python"),
            PathBuf::from("python3"),
        ]
        .into_iter()
        .find(|python| {
            succeeds(Command::new(python).args(["-c", "import websockets.asyncio.client"]))
        })
    });
    let Some(python) = found else {
        panic!("no Python 3 with the package `websockets` (14 or later): {INSTALL}");
    };
    let mut command = Command::new(python);
    command.arg(script(name));
    command
}

/// Returns a command that runs a Node script of `tests/peers` where `ws` can be required.
pub(crate) fn node(name: &str) -> Command {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        // Where `npm install ws` leaves it in a checkout, too.
        [installed(), PathBuf::from(env!("CARGO_MANIFEST_DIR"))]
            .into_iter()
            .find(|place| place.join("node_modules/ws/package.json").is_file())
    });
    assert!(
        succeeds(Command::new("node").arg("--version")),
        "no `node`: install the package nodejs, then {INSTALL}"
    );
    let Some(place) = found else {
        panic!("no npm package `ws`: {INSTALL}");
    };
    let mut command = Command::new("node");
    command.arg(script(name)).env("PEER_PACKAGES", place);
    command
}
