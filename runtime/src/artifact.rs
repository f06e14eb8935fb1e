//! Compiled components: as bytes from the compiler, in a folder, and mapped from there.
//!
//! Compiled code is trusted by whoever runs it, so what is read back is held to a message
//! authentication code: whoever can write to the folder and does not have the key cannot make
//! code that is run.

// The one thing that wasmtime cannot check is where compiled code comes from.
#![expect(unsafe_code, reason = "compiled code is mapped from files that carry our own MAC")]

use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use wasmtime::component::Component;
use wasmtime::{Module, Precompiled};

use crate::engine::{Flavour, Tasks};
use crate::validate::Kind;
use crate::{Engine, EngineOptions, Metering, RuntimeError, engine, validate};

/// Bytes of the key.
pub const KEY_BYTES: usize = 32;

/// How the names of compiled code and of its codes end.
const CODE_END: &str = "cwasm";
const TAG_END: &str = "mac";
const ENDS: [&str; 2] = [CODE_END, TAG_END];
/// What stands between digest and end where the code counts fuel.
const FUEL_MARK: &str = "-fuel";

/// A component or a core module, checked and compiled. A clone is another handle to it.
#[derive(Clone)]
pub struct Compiled {
    pub(crate) code: Code,
    pub(crate) flavour: Flavour,
}

/// Machine code, by what it was compiled from.
#[derive(Clone)]
pub(crate) enum Code {
    Component(Component),
    Module(Module),
}

impl Compiled {
    /// Checks and compiles a component in this process. It takes milliseconds to seconds of CPU
    /// time: call it where blocking is allowed.
    ///
    /// # Errors
    /// Says what is wrong with the component: every import that the host lacks, the missing
    /// export, the byte where it is damaged.
    pub fn new(
        engine: &Engine,
        component: &[u8],
        metering: Metering,
    ) -> Result<Self, RuntimeError> {
        let kind = validate::check(component, engine.options().component_bytes_max)?;
        let flavour = flavour(kind, metering);
        let engine = &engine.of(flavour)?.wasmtime;
        let code = match kind {
            Kind::Component | Kind::Service => {
                Component::from_binary(engine, component).map(Code::Component)
            }
            Kind::Command => Module::from_binary(engine, component).map(Code::Module),
        };
        Ok(Self { code: code.map_err(RuntimeError::Compile)?, flavour })
    }

    /// Bytes of code and data that it takes, mapped from a file or not.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let range = match &self.code {
            Code::Component(component) => component.image_range(),
            Code::Module(module) => module.image_range(),
        };
        range.end.addr() - range.start.addr()
    }
}

/// What an upload's engine has to give it.
fn flavour(kind: Kind, metering: Metering) -> Flavour {
    let tasks = if kind == Kind::Service { Tasks::Several } else { Tasks::One };
    Flavour { tasks, metering }
}

/// Checks and compiles a component for engines with these options, and gives the compiled code as
/// bytes. For a process that does nothing else.
///
/// # Errors
/// As [`Compiled::new`].
pub fn compile(
    options: &EngineOptions,
    component: &[u8],
    metering: Metering,
) -> Result<Vec<u8>, RuntimeError> {
    let kind = validate::check(component, options.component_bytes_max)?;
    let engine = engine::compiler(flavour(kind, metering)).map_err(RuntimeError::Engine)?;
    let compiled = match kind {
        Kind::Component | Kind::Service => engine.precompile_component(component),
        Kind::Command => engine.precompile_module(component),
    };
    compiled.map_err(RuntimeError::Compile)
}

/// Names compiled code in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// Of what it was compiled from.
    pub digest: String,
    /// What it counts.
    pub metering: Metering,
}

impl Build {
    /// The name without its end.
    fn name(&self) -> String {
        match self.metering {
            Metering::Cpu => self.digest.clone(),
            Metering::Fuel => format!("{}{FUEL_MARK}", self.digest),
        }
    }
}

/// Compiled components in a folder, by what they were compiled from and what they count.
pub struct Artifacts {
    engine: Engine,
    folder: PathBuf,
    key: [u8; KEY_BYTES],
}

impl Artifacts {
    /// Opens the part of `folder` that is for this engine, and removes what others have left:
    /// compiled code fits one version of the engine, and one kind of processor. What nobody has
    /// `wanted`, by its digest, was left by a server that ended in the middle of an upload.
    ///
    /// # Errors
    /// What the system says of the folder.
    pub fn open(
        engine: &Engine,
        folder: &Path,
        key: [u8; KEY_BYTES],
        wanted: impl Fn(&str) -> bool,
    ) -> io::Result<Self> {
        let own = kind(engine);
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() && entry.file_name() != own.as_str() {
                fs::remove_dir_all(entry.path())?;
            }
        }
        let folder = folder.join(own);
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let known = name.to_str().and_then(|name| name.split_once('.'));
            let of = |name: &str| wanted(name.strip_suffix(FUEL_MARK).unwrap_or(name));
            if !known.is_some_and(|(name, end)| ENDS.contains(&end) && of(name)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(Self { engine: engine.clone(), folder, key })
    }

    /// The part of `folder` that is for this engine, for a process that only reads there.
    #[must_use]
    pub fn reader(engine: &Engine, folder: &Path, key: [u8; KEY_BYTES]) -> Self {
        Self { engine: engine.clone(), folder: folder.join(kind(engine)), key }
    }

    /// Whether something was kept that [`Artifacts::read`] may give.
    #[must_use]
    pub fn has(&self, build: &Build) -> bool {
        let name = build.name();
        self.path(&name).exists() && self.tag_path(&name).exists()
    }

    /// A component that was kept; `None` where there is none, or one that is not ours.
    ///
    /// # Errors
    /// What the system says of the file, and `Compile` where wasmtime does not take it.
    pub fn read(&self, build: &Build) -> Result<Option<Compiled>, RuntimeError> {
        let name = build.name();
        let path = self.path(&name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(RuntimeError::Artifact(error)),
        };
        if !self.genuine(&name, &file).map_err(RuntimeError::Artifact)? {
            tracing::warn!(path = %path.display(), "compiled code that is not ours; refused");
            return Ok(None);
        }
        let (engine, same) = (&self.engine, same_file(&file, &path));
        let usual = Flavour { metering: build.metering, ..Flavour::default() };
        let kind =
            wasmtime::Engine::detect_precompiled_file(&same).map_err(RuntimeError::Compile)?;
        // SAFETY: `deserialize_file` wants a file that wasmtime's compiler has written, and that
        // nobody changes while it is mapped. The MAC says that it is what `write` was given, which
        // is what `compile` gave; files here are written once, under a name that only they get,
        // made read-only, and removed by unlinking alone, which leaves the mapping whole.
        let compiled = unsafe {
            match kind {
                Some(Precompiled::Module) => {
                    let module = Module::deserialize_file(&engine.of(usual)?.wasmtime, same);
                    module.map(|module| Compiled { code: Code::Module(module), flavour: usual })
                }
                _ => self.component(usual, &same),
            }
        };
        compiled.map(Some).map_err(RuntimeError::Compile)
    }

    /// A component, by the engine that it was compiled for.
    ///
    /// # Safety
    /// As `Component::deserialize_file`.
    unsafe fn component(&self, usual: Flavour, path: &Path) -> wasmtime::Result<Compiled> {
        let read = |flavour| {
            let engine = &self.engine.of(flavour)?.wasmtime;
            // SAFETY: the caller's promise.
            let component = unsafe { Component::deserialize_file(engine, path) }?;
            wasmtime::Result::Ok(Compiled { code: Code::Component(component), flavour })
        };
        // What is for neither, the first has said why.
        read(usual).or_else(|why| read(Flavour { tasks: Tasks::Several, ..usual }).or(Err(why)))
    }

    /// Keeps what [`compile`] gave. It is there whole or not at all, but not synced: what a crash
    /// takes is compiled again.
    ///
    /// # Errors
    /// What the system says of the file.
    pub fn write(&self, build: &Build, compiled: &[u8]) -> io::Result<()> {
        let name = build.name();
        let mut mac = self.mac(&name);
        mac.update(compiled);
        let tag = mac.finalize().into_bytes();
        place(&self.folder, &self.tag_path(&name), &tag)?;
        place(&self.folder, &self.path(&name), compiled)
    }

    /// Removes all that was compiled from this; those who have it mapped keep it.
    pub fn remove(&self, digest: &str) {
        let fuelled = format!("{digest}{FUEL_MARK}");
        for path in
            [digest, &fuelled].iter().flat_map(|name| [self.path(name), self.tag_path(name)])
        {
            match fs::remove_file(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "compiled code was left behind");
                }
            }
        }
    }

    fn genuine(&self, name: &str, mut file: &File) -> io::Result<bool> {
        let tag = match fs::read(self.tag_path(name)) {
            Ok(tag) => tag,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let mut mac = self.mac(name);
        let mut chunk = vec![0; 256 << 10];
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok(mac.verify_slice(&tag).is_ok()),
                bytes => mac.update(&chunk[..bytes]),
            }
        }
    }

    /// Bound to the engine's kind and the name: another file's MAC does not fit.
    fn mac(&self, name: &str) -> Hmac<Sha256> {
        // HMAC fills a key up to the hash's block with zeros (RFC 2104).
        let mut block = [0; 64];
        block[..KEY_BYTES].copy_from_slice(&self.key);
        let mut mac = Hmac::<Sha256>::new(&block.into());
        for part in ["emberbox artifact 1", &kind(&self.engine), name] {
            mac.update(&(part.len() as u64).to_le_bytes());
            mac.update(part.as_bytes());
        }
        mac
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.{CODE_END}"))
    }

    fn tag_path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.{TAG_END}"))
    }
}

/// What compiled code has to fit: the engine's version and settings, and the processor's kind.
fn kind(engine: &Engine) -> String {
    // Its keys are fixed, so that it gives the same in the next process.
    let mut hasher = std::hash::DefaultHasher::new();
    engine.usual().wasmtime.precompile_compatibility_hash().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// A path that leads to what was checked, whatever has its name by now.
#[cfg(target_os = "linux")]
fn same_file(file: &File, _path: &Path) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(not(target_os = "linux"))]
fn same_file(_file: &File, path: &Path) -> PathBuf {
    path.to_owned()
}

/// Writes a file that is there whole or not at all, and that nobody writes to again.
fn place(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    let mut permissions = file.as_file().metadata()?.permissions();
    permissions.set_readonly(true);
    file.as_file().set_permissions(permissions)?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests;
