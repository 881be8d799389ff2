//! Compiles servers made with uWebSockets, whose sources come with a crate of bindings. Cargo fetches
//! that crate as it would for a package that depends on it.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

pub(crate) const NEEDS: &str =
    "the package g++, and the crate libuwebsockets-sys, which cargo fetches";

/// Compiles as [`build`] does, or says what that needs.
pub(crate) fn build_or_say(source: &Path, program: &Path) -> io::Result<()> {
    build(source, program)
        .map_err(|error| io::Error::other(format!("uwebsockets needs {NEEDS}: {error}")))
}

/// Compiles one source file and the library, as its makefile does, but for TLS and compression. The
/// program's directory is made, and used for the fetching.
pub(crate) fn build(source: &Path, program: &Path) -> io::Result<()> {
    let place = program.parent().expect("a program lies in a directory");
    fs::create_dir_all(place)?;
    let library = fetch(place)?;
    let sockets = library.join("uSockets/src");
    let mut command = Command::new("cc");
    command
        .args(["-O3", "-flto=auto", "-DLIBUS_NO_SSL", "-DUWS_NO_ZLIB"])
        .arg("-o")
        .args([program, source])
        .arg("-I")
        .arg(library.join("src"))
        .arg("-I")
        .arg(&sockets);
    for directory in [&sockets, &sockets.join("eventing")] {
        for entry in fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "c") {
                command.arg(path);
            }
        }
    }
    command.args(["-lstdc++", "-pthread"]);
    run(&mut command)?;
    Ok(())
}

/// Returns where the source of the library is.
fn fetch(place: &Path) -> io::Result<PathBuf> {
    let manifest = place.join("Cargo.toml");
    fs::write(&manifest, MANIFEST)?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["metadata", "--format-version", "1", "--manifest-path"])
        .arg(&manifest);
    let metadata: Value = serde_json::from_str(&run(&mut cargo)?)?;
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let manifest = packages
        .find(|package| package["name"] == "libuwebsockets-sys")
        .and_then(|package| package["manifest_path"].as_str())
        .ok_or_else(|| io::Error::other("cargo does not tell where libuwebsockets-sys is"))?;
    Ok(Path::new(manifest).with_file_name("uWebSockets"))
}

const MANIFEST: &str = r#"
[workspace]

[package]
name = "foreign"

[lib]
path = "none.rs"

[dependencies]
libuwebsockets-sys = "=0.0.10"
"#;

/// Returns what a command that must succeed says.
pub(crate) fn run(command: &mut Command) -> io::Result<String> {
    let program = command.get_program().display().to_string();
    let output = command
        .output()
        .map_err(|error| io::Error::other(format!("{program}: {error}")))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("{program}: {told}")));
    }
    String::from_utf8(output.stdout).map_err(io::Error::other)
}
