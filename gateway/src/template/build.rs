//! Cargo, called so that a component comes out.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

use serde_json::Value;

use crate::manifest::Manifest;

/// What functions are compiled for.
const TARGET: &str = "wasm32-wasip2";
/// Between flags in `CARGO_ENCODED_RUSTFLAGS` (The Cargo Book, "Environment Variables").
const FLAG_SEPARATOR: char = '\u{1f}';

/// Why there is no component.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The folder holds no Cargo project.
    #[error(
        "there is no Cargo.toml in {}: go to a function's folder, or make one with \
         `emberbox new NAME`",
        .0.display()
    )]
    NoProject(PathBuf),
    /// Rust is not installed.
    #[error("{} was not found: install Rust from https://rustup.rs", .0.display())]
    NoRust(PathBuf),
    /// The compiler cannot compile for WebAssembly components.
    #[error(
        "this Rust cannot build for {TARGET} yet: run `rustup target add {TARGET}` (in the \
         function's folder, if that has a toolchain of its own)"
    )]
    NoTarget,
    /// Cargo said no; its own words are on standard error.
    #[error("the function does not build ({0}): see what Cargo says above")]
    Failed(ExitStatus),
    /// A manifest's command said no; its own words are on standard error.
    #[error("`{command}` failed ({status}): see what it says above")]
    CommandFailed {
        /// The command.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// The build made no component.
    #[error(
        "the package in {} made no component: its Cargo.toml needs a [lib] with \
         crate-type = [\"cdylib\"]",
        .0.display()
    )]
    NoComponent(PathBuf),
    /// Starting or reading a program failed.
    #[error("cannot run {}: {source}", program.display())]
    Io {
        /// The program.
        program: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// Builds the function in this folder as its manifest says, and returns the component's path.
///
/// # Errors
/// As [`build_project`]; or if the manifest's command fails.
pub fn build_function(dir: &Path, manifest: &Manifest) -> Result<PathBuf, BuildError> {
    let built = match &manifest.build {
        Some(command) => run_command(command, dir)?,
        None => build_project(dir)?,
    };
    Ok(manifest.component.as_ref().map_or(built, |path| dir.join(path)))
}

/// Builds the function in this folder for `wasm32-wasip2` and returns the component's path.
///
/// Cargo's progress and messages go to standard error. The paths of this machine are kept out of
/// the component, which is going to be uploaded.
///
/// # Errors
/// If there is no project or no compiler for the target, if Cargo fails, or if no component comes
/// out. What to do about it stands in the message.
pub fn build_project(dir: &Path) -> Result<PathBuf, BuildError> {
    Toolchain::from_environment().build(dir)
}

/// The programs to call.
struct Toolchain {
    cargo: OsString,
    rustc: OsString,
}

impl Toolchain {
    /// As Cargo itself finds them: `CARGO` and `RUSTC`, or by their names.
    fn from_environment() -> Self {
        let program = |variable: &str, name: &str| match env::var_os(variable) {
            Some(path) if !path.is_empty() => path,
            _ => OsString::from(name),
        };
        Self { cargo: program("CARGO", "cargo"), rustc: program("RUSTC", "rustc") }
    }

    fn build(&self, dir: &Path) -> Result<PathBuf, BuildError> {
        let manifest = dir.join("Cargo.toml");
        let Ok(manifest) = manifest.canonicalize() else {
            return Err(BuildError::NoProject(dir.to_owned()));
        };
        let libraries = self.print(dir, &["target-libdir", "--target", TARGET])?;
        if !libraries.is_some_and(|folder| Path::new(&folder).is_dir()) {
            return Err(BuildError::NoTarget);
        }
        let flags = self.trim_paths(dir, &manifest)?;
        let mut cargo = Command::new(&self.cargo);
        cargo.current_dir(dir).args(["build", "--release", "--target", TARGET]);
        cargo.arg("--message-format=json-render-diagnostics");
        pass_flags(&mut cargo, &flags);
        let component = run(cargo, &self.cargo, &manifest)?;
        component.ok_or_else(|| BuildError::NoComponent(dir.to_owned()))
    }

    /// What `rustc --print` says; `None` if it does not know the answer.
    fn print(&self, dir: &Path, what: &[&str]) -> Result<Option<String>, BuildError> {
        let output = Command::new(&self.rustc).current_dir(dir).arg("--print").args(what).output();
        let output = output.map_err(|error| start_error(&self.rustc, error))?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(output.status.success().then_some(said))
    }

    /// Flags that replace the folders that would be named in messages of panics. Where several
    /// prefixes match, the last one counts.
    fn trim_paths(&self, dir: &Path, manifest: &Path) -> Result<Vec<String>, BuildError> {
        let cargo_home = env::var_os("CARGO_HOME").filter(|path| !path.is_empty());
        let cargo_home =
            cargo_home.map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
        let flag = |folder: &str, name: &str| format!("--remap-path-prefix={folder}={name}");
        let mut flags = Vec::new();
        if let Some(sysroot) = self.print(dir, &["sysroot"])?.filter(|path| !path.is_empty()) {
            flags.push(flag(&sysroot, "/rust"));
        }
        if let Some(home) = cargo_home.as_deref().and_then(Path::to_str) {
            flags.push(flag(home, "/cargo"));
        }
        if let Some(project) = manifest.parent().and_then(Path::to_str) {
            flags.push(flag(project, "/function"));
        }
        Ok(flags)
    }
}

fn start_error(program: &OsStr, source: io::Error) -> BuildError {
    let program = PathBuf::from(program);
    match source.kind() {
        io::ErrorKind::NotFound => BuildError::NoRust(program),
        _ => BuildError::Io { program, source },
    }
}

/// Adds flags to those that the user has set. Cargo takes them from one place only: from the
/// environment, where that has any, and else from its configuration, to which `--config` adds.
fn pass_flags(cargo: &mut Command, flags: &[String]) {
    let ours = flags.join(&FLAG_SEPARATOR.to_string());
    let encoded = env::var_os("CARGO_ENCODED_RUSTFLAGS").and_then(|set| set.into_string().ok());
    let plain = env::var_os("RUSTFLAGS").and_then(|set| set.into_string().ok());
    let plain = plain.map(|set| {
        let words: Vec<&str> = set.split_ascii_whitespace().collect();
        words.join(&FLAG_SEPARATOR.to_string())
    });
    match encoded.or(plain).filter(|theirs| !theirs.is_empty()) {
        Some(theirs) => {
            cargo.env("CARGO_ENCODED_RUSTFLAGS", format!("{theirs}{FLAG_SEPARATOR}{ours}"));
        }
        None => {
            let list = Value::from(flags.to_vec());
            cargo.arg("--config").arg(format!("target.{TARGET}.rustflags={list}"));
        }
    }
}

/// Runs a function's own build command in its folder, as a shell understands it. What it writes goes
/// to standard error.
fn run_command(command: &str, dir: &Path) -> Result<PathBuf, BuildError> {
    let (shell, flag) = if cfg!(windows) { ("cmd", "/C") } else { ("sh", "-c") };
    let mut shell_command = Command::new(shell);
    shell_command.args([flag, command]).current_dir(dir).stdin(Stdio::null());
    shell_command.stdout(io::stderr());
    let failed = |source| BuildError::Io { program: PathBuf::from(shell), source };
    let status = shell_command.status().map_err(failed)?;
    if status.success() {
        return Ok(dir.to_owned());
    }
    Err(BuildError::CommandFailed { command: command.to_owned(), status })
}

/// Runs Cargo and returns the component that the package of this manifest became.
fn run(
    mut cargo: Command,
    program: &OsStr,
    manifest: &Path,
) -> Result<Option<PathBuf>, BuildError> {
    let failed = |source| BuildError::Io { program: PathBuf::from(program), source };
    cargo.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = cargo.spawn().map_err(|error| start_error(program, error))?;
    let mut component = None;
    if let Some(messages) = child.stdout.take() {
        for message in BufReader::new(messages).lines() {
            component = component_in(&message.map_err(failed)?, manifest).or(component);
        }
    }
    let status = child.wait().map_err(failed)?;
    if status.success() { Ok(component) } else { Err(BuildError::Failed(status)) }
}

/// The component that a message of Cargo speaks of (The Cargo Book, "External tools").
fn component_in(message: &str, manifest: &Path) -> Option<PathBuf> {
    let message: Value = serde_json::from_str(message).ok()?;
    if message["reason"] != "compiler-artifact" {
        return None;
    }
    let built = Path::new(message["manifest_path"].as_str()?);
    if built.canonicalize().ok()? != manifest {
        return None;
    }
    let files = message["filenames"].as_array()?;
    files.iter().filter_map(Value::as_str).find(|file| file.ends_with(".wasm")).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toolchain(cargo: &str, rustc: &str) -> Toolchain {
        Toolchain { cargo: cargo.into(), rustc: rustc.into() }
    }

    #[test]
    fn what_is_missing_is_named() {
        let none = tempfile::tempdir().unwrap();
        let dir = none.path();
        let error = toolchain("cargo", "rustc").build(dir).unwrap_err();
        assert!(matches!(error, BuildError::NoProject(_)), "{error}");
        std::fs::write(dir.join("Cargo.toml"), "").unwrap();
        let missing = dir.join("no-such-program");
        let missing = missing.to_str().unwrap();
        let error = toolchain("cargo", missing).build(dir).unwrap_err();
        assert!(matches!(error, BuildError::NoRust(_)), "{error}");
        // `false` is a compiler that knows no target.
        let error = toolchain("cargo", "false").build(dir).unwrap_err();
        assert!(error.to_string().contains("rustup target add wasm32-wasip2"), "{error}");
    }

    #[test]
    fn a_build_that_fails_is_told_from_one_without_a_component() {
        let run = |program: &str| run(Command::new(program), OsStr::new(program), Path::new("/"));
        assert!(matches!(run("false"), Err(BuildError::Failed(_))));
        assert!(matches!(run("true"), Ok(None)));
        assert!(matches!(run("/no/such/program"), Err(BuildError::NoRust(_))));
    }

    #[test]
    fn a_manifests_command_builds_in_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = |command: &str| {
            let text = format!(
                "[function]\nname = \"f\"\nmax_cost_per_call = \"1\"\ncomponent = \"a.wasm\"\n\
                 build = \"{command}\""
            );
            Manifest::parse(&text).unwrap()
        };
        let built = build_function(folder.path(), &manifest("echo x > a.wasm && true")).unwrap();
        assert_eq!(std::fs::read_to_string(built).unwrap(), "x\n");
        let error = build_function(folder.path(), &manifest("exit 3")).unwrap_err();
        assert!(error.to_string().contains("`exit 3` failed"), "{error}");
    }

    #[test]
    fn the_component_is_the_one_of_this_package() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().canonicalize().unwrap().join("Cargo.toml");
        std::fs::write(&manifest, "").unwrap();
        let check = |reason: &str, path: &Path, files: &[&str], expect: Option<&str>| {
            let message = serde_json::json!({
                "reason": reason, "manifest_path": path, "filenames": files,
            });
            assert_eq!(component_in(&message.to_string(), &manifest), expect.map(PathBuf::from));
        };
        let artifact = "compiler-artifact";
        check(artifact, &manifest, &["/t/f.d", "/t/f.wasm"], Some("/t/f.wasm"));
        check(artifact, &manifest, &["/t/libf.rlib"], None);
        check(artifact, Path::new("/elsewhere/Cargo.toml"), &["/t/g.wasm"], None);
        check("build-finished", &manifest, &["/t/f.wasm"], None);
        assert_eq!(component_in("warning: not JSON", &manifest), None);
    }
}
