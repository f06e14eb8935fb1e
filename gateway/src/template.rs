//! The project that `emberbox new` writes: a Rust function that builds and deploys as it stands.
//!
//! It carries its own copy of the SDK, the same text that this binary was built beside, so that a
//! project and its server agree and no unpublished crate is needed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Cargo, called so that a component comes out.
pub mod build;

/// The longest name of a function.
const NAME_BYTES_MAX: usize = 63;
/// What stands in the files below where the function's name belongs.
const NAME: &str = "{{name}}";
/// The examples' lock file: they use the SDK as the project does, so what they were tested with is
/// what the project gets.
const LOCK: &str = include_str!("../../examples/Cargo.lock");
/// The project's own package in its lock file.
const LOCK_OWN: &str = include_str!("template/project/lock-entry.in");

/// The project's own files.
const PROJECT: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("template/project/Cargo.toml.in")),
    ("emberbox.toml", include_str!("template/project/emberbox.toml.in")),
    ("src/lib.rs", include_str!("template/project/lib.rs.in")),
    ("README.md", include_str!("template/project/README.md.in")),
    (".gitignore", include_str!("template/project/gitignore.in")),
];

/// Where the SDK goes.
const VENDOR: &str = "vendor/emberbox-sdk";

macro_rules! sdk {
    ($($path:literal),* $(,)?) => {
        &[$(($path, include_str!(concat!("../../guest-sdk/", $path)))),*]
    };
}

/// The SDK's files: all of guest-sdk's `Cargo.toml`, `src` and `wit`.
const SDK: &[(&str, &str)] = sdk![
    "Cargo.toml",
    "src/chat.rs",
    "src/error.rs",
    "src/generate.rs",
    "src/generate/tests.rs",
    "src/image.rs",
    "src/lib.rs",
    "src/message.rs",
    "src/model.rs",
    "src/nn.rs",
    "src/nn/host.rs",
    "src/request.rs",
    "src/response.rs",
    "src/serve.rs",
    "src/tensor.rs",
    "src/url.rs",
    "src/view.rs",
    "wit/wasi-nn.wit",
];

/// Why a project was not written. Nothing of it is left behind.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// The name is not one that a function can have.
    #[error(
        "{0:?} cannot be a function's name: it has 1 to {NAME_BYTES_MAX} lower-case letters, \
         digits and hyphens, and begins with a letter"
    )]
    BadName(String),
    /// Rust, Cargo or the project itself use this name.
    #[error("{0:?} cannot be the project's name: {1}; choose another, such as {0}-function")]
    ReservedName(String, &'static str),
    /// There is something in the folder already.
    #[error("{} is not empty: choose another name or folder, or empty it first", .0.display())]
    NotEmpty(PathBuf),
    /// A file has the folder's name.
    #[error("{} is there already and is not a folder", .0.display())]
    NotAFolder(PathBuf),
    /// The file system refused.
    #[error("cannot write {}: {source}", path.display())]
    Io {
        /// What was being written.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// Writes a new function project into a folder that is empty or not there yet, and returns the
/// files written. `name` becomes the name of the function and of its Cargo package.
///
/// # Errors
/// If the name or the folder will not do, or the file system refuses; then nothing is left behind.
pub fn write_project(dir: &Path, name: &str) -> Result<Vec<PathBuf>, TemplateError> {
    check_name(name)?;
    check_folder(dir)?;
    let own = PROJECT.iter().map(|(path, text)| (PathBuf::from(path), text.replace(NAME, name)));
    let sdk = SDK.iter().map(|(path, text)| (Path::new(VENDOR).join(path), (*text).to_owned()));
    let lock = (PathBuf::from("Cargo.lock"), lock_for(name));
    let mut made = Made::default();
    for (path, text) in own.chain([lock]).chain(sdk) {
        made.file(&dir.join(path), &text)?;
    }
    Ok(made.keep())
}

fn check_name(name: &str) -> Result<(), TemplateError> {
    let body = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = name.len() <= NAME_BYTES_MAX
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(body);
    if !fits {
        return Err(TemplateError::BadName(name.to_owned()));
    }
    let reserved = |why| Err(TemplateError::ReservedName(name.to_owned(), why));
    if KEYWORDS.contains(&name) {
        return reserved("it is a word of Rust's own");
    }
    if LIBRARIES.contains(&name) {
        return reserved("it is a crate that comes with Rust");
    }
    let entry = format!("name = \"{name}\"");
    if lock_for(name).lines().filter(|line| *line == entry).count() > 1 {
        return reserved("the project uses a crate of that name");
    }
    Ok(())
}

/// Words that Cargo refuses as the name of a package (The Rust Reference, "Keywords").
const KEYWORDS: &[&str] = &[
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate",
    "do", "dyn", "else", "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl",
    "in", "let", "loop", "macro", "match", "mod", "move", "mut", "override", "priv", "pub", "ref",
    "return", "self", "static", "struct", "super", "trait", "true", "try", "type", "typeof",
    "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Crates that a package of their name would hide.
const LIBRARIES: &[&str] = &["alloc", "core", "proc-macro", "std", "test"];

fn check_folder(dir: &Path) -> Result<(), TemplateError> {
    match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(TemplateError::NotEmpty(dir.to_owned())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            Err(TemplateError::NotAFolder(dir.to_owned()))
        }
        Err(source) => Err(TemplateError::Io { path: dir.to_owned(), source }),
    }
}

/// The lock file: of that of the examples what the project's package needs. Packages stand in the
/// order of the alphabet, or Cargo would want to write the file anew.
fn lock_for(name: &str) -> String {
    let mut blocks = LOCK.trim_end().split("\n\n");
    let head = blocks.next().unwrap_or_default();
    let all: Vec<&str> = blocks.collect();
    let own = LOCK_OWN.trim_end().replace(NAME, name);
    let mut packages = vec![own.as_str()];
    let mut next = 0;
    while let Some(block) = packages.get(next) {
        for needed in needs(block) {
            // Where there are several versions, the need is for one of them.
            let (name, version) = needed.split_once(' ').unzip();
            let name = name.unwrap_or(needed);
            let found = all.iter().find(|block| {
                quoted(block, "name") == Some(name)
                    && version.is_none_or(|version| quoted(block, "version") == Some(version))
            });
            packages.extend(found.filter(|found| !packages.contains(found)));
        }
        next += 1;
    }
    packages.sort_by_key(|block| (quoted(block, "name"), quoted(block, "version")));
    let packages: Vec<String> =
        packages.iter().map(|block| unversioned(block, &packages)).collect();
    format!("{head}\n\n{}\n", packages.join("\n\n"))
}

/// A package whose needs name a version only where there are several: the examples may have more of
/// them than the project.
fn unversioned(block: &str, packages: &[&str]) -> String {
    let mut text = block.to_owned();
    for needed in needs(block) {
        let Some((name, _)) = needed.split_once(' ') else { continue };
        let named = packages.iter().filter(|block| quoted(block, "name") == Some(name));
        if named.count() == 1 {
            text = text.replace(&format!("\"{needed}\""), &format!("\"{name}\""));
        }
    }
    text
}

/// A field of a package in a lock file.
fn quoted<'b>(block: &'b str, key: &str) -> Option<&'b str> {
    let value = |line: &'b str| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"');
    block.lines().find_map(value)
}

/// The packages that one in a lock file needs: names, with versions where there are several.
fn needs(block: &str) -> impl Iterator<Item = &str> {
    let entry = |line| str::strip_prefix(line, " \"")?.strip_suffix("\",");
    block.lines().filter_map(entry)
}

/// The files and folders made so far; those that are not kept are removed again.
#[derive(Default)]
struct Made {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

impl Made {
    fn file(&mut self, path: &Path, text: &str) -> Result<(), TemplateError> {
        let failed = |source| TemplateError::Io { path: path.to_owned(), source };
        if let Some(folder) = path.parent() {
            self.folder(folder).map_err(failed)?;
        }
        // Never over a file that has appeared in the meantime.
        let mut file = fs::File::create_new(path).map_err(failed)?;
        self.files.push(path.to_owned());
        io::Write::write_all(&mut file, text.as_bytes()).map_err(failed)
    }

    /// Makes a folder and those above it, the topmost first, and remembers which were new.
    fn folder(&mut self, path: &Path) -> io::Result<()> {
        let there = |folder: &&Path| folder.as_os_str().is_empty() || folder.is_dir();
        let missing: Vec<&Path> = path.ancestors().take_while(|folder| !there(folder)).collect();
        for folder in missing.into_iter().rev() {
            fs::create_dir(folder)?;
            self.folders.push(folder.to_owned());
        }
        Ok(())
    }

    fn keep(mut self) -> Vec<PathBuf> {
        self.folders.clear();
        std::mem::take(&mut self.files)
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        // Best effort: the error that led here is the one to tell.
        for file in self.files.iter().rev() {
            drop(fs::remove_file(file));
        }
        for folder in self.folders.iter().rev() {
            drop(fs::remove_dir(folder));
        }
    }
}

#[cfg(test)]
mod tests;
