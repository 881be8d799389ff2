//! Compiles servers made with uWebSockets, whose sources come with a crate of bindings. Cargo fetches
//! that crate as it would for a package that depends on it.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

pub(crate) const NEEDS: &str = "the packages g++ and, for TLS or compression, libssl-dev or zlib1g-dev, and the crate libuwebsockets-sys, which cargo fetches";

/// Compiles as [`build`] does, or says what that needs.
pub(crate) fn build_or_say(source: &Path, program: &Path, parts: &[Part]) -> io::Result<()> {
    build(source, program, parts)
        .map_err(|error| io::Error::other(format!("uwebsockets needs {NEEDS}: {error}")))
}

/// A part of the library that is left out if it is not named.
#[allow(dead_code, reason = "each bench has its own")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// TLS by OpenSSL.
    Tls,
    /// Compression by zlib.
    Deflate,
}

/// Compiles one source file and the library, as its makefile does. The program's directory is made, and
/// used for the fetching.
pub(crate) fn build(source: &Path, program: &Path, parts: &[Part]) -> io::Result<()> {
    let place = program.parent().expect("a program lies in a directory");
    fs::create_dir_all(place)?;
    let library = fetch(place)?;
    let sockets = library.join("uSockets/src");
    let mut command = Command::new("cc");
    command
        .args(["-O3", "-flto=auto"])
        .arg("-o")
        .args([program, source])
        .arg("-I")
        .arg(library.join("src"))
        .arg("-I")
        .arg(&sockets);
    command.args(sources(&sockets, "c")?);
    command.args(sources(&sockets.join("eventing"), "c")?);
    if parts.contains(&Part::Tls) {
        let crypto = sockets.join("crypto");
        command.arg("-DLIBUS_USE_OPENSSL");
        command
            .args(sources(&crypto, "c")?)
            .args(sources(&crypto, "cpp")?);
        command.args(["-lssl", "-lcrypto"]);
    } else {
        command.arg("-DLIBUS_NO_SSL");
    }
    command.arg(match parts.contains(&Part::Deflate) {
        true => "-lz",
        false => "-DUWS_NO_ZLIB",
    });
    command.args(["-lstdc++", "-pthread"]);
    run(&mut command)?;
    Ok(())
}

/// Returns the files of a directory that end so.
fn sources(directory: &Path, ending: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == ending)
        {
            found.push(path);
        }
    }
    Ok(found)
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
