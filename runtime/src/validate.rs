//! What can be said about an upload without compiling it, so that a mistake gets a name and a
//! hostile file gets no compiler time.

use wasmparser::{Chunk, ExternalKind, Parser, Payload};

use crate::{RuntimeError, UnknownImport};

/// Every interface of the host, with the version that imports must be compatible with: within
/// `0.2` and `0.3` any patch level is, a prerelease only fits itself.
pub(crate) const OFFERED: &[(&str, &str)] = &[
    ("wasi:cli/environment", "0.2"),
    ("wasi:cli/exit", "0.2"),
    ("wasi:cli/stderr", "0.2"),
    ("wasi:cli/stdin", "0.2"),
    ("wasi:cli/stdout", "0.2"),
    ("wasi:cli/terminal-input", "0.2"),
    ("wasi:cli/terminal-output", "0.2"),
    ("wasi:cli/terminal-stderr", "0.2"),
    ("wasi:cli/terminal-stdin", "0.2"),
    ("wasi:cli/terminal-stdout", "0.2"),
    ("wasi:clocks/monotonic-clock", "0.2"),
    ("wasi:clocks/wall-clock", "0.2"),
    ("wasi:filesystem/preopens", "0.2"),
    ("wasi:filesystem/types", "0.2"),
    ("wasi:http/outgoing-handler", "0.2"),
    ("wasi:http/types", "0.2"),
    ("wasi:io/error", "0.2"),
    ("wasi:io/poll", "0.2"),
    ("wasi:io/streams", "0.2"),
    ("wasi:nn/errors", "0.2.0-rc-2024-10-28"),
    ("wasi:nn/graph", "0.2.0-rc-2024-10-28"),
    ("wasi:nn/inference", "0.2.0-rc-2024-10-28"),
    ("wasi:nn/tensor", "0.2.0-rc-2024-10-28"),
    ("wasi:nn/errors", "0.2.0-rc-2024-08-19"),
    ("wasi:nn/graph", "0.2.0-rc-2024-08-19"),
    ("wasi:nn/inference", "0.2.0-rc-2024-08-19"),
    ("wasi:nn/tensor", "0.2.0-rc-2024-08-19"),
    ("wasi:nn/errors", "0.2.0-rc-2024-06-25"),
    ("wasi:nn/graph", "0.2.0-rc-2024-06-25"),
    ("wasi:nn/inference", "0.2.0-rc-2024-06-25"),
    ("wasi:nn/tensor", "0.2.0-rc-2024-06-25"),
    ("wasi:random/insecure", "0.2"),
    ("wasi:random/insecure-seed", "0.2"),
    ("wasi:random/random", "0.2"),
    ("wasi:sockets/instance-network", "0.2"),
    ("wasi:sockets/ip-name-lookup", "0.2"),
    ("wasi:sockets/network", "0.2"),
    ("wasi:sockets/tcp", "0.2"),
    ("wasi:sockets/tcp-create-socket", "0.2"),
    ("wasi:sockets/udp", "0.2"),
    ("wasi:sockets/udp-create-socket", "0.2"),
];

/// What components of WASI 0.3 can import beside that.
const OFFERED_TO_SERVICES: &[(&str, &str)] = &[
    ("wasi:cli/environment", "0.3"),
    ("wasi:cli/exit", "0.3"),
    ("wasi:cli/stderr", "0.3"),
    ("wasi:cli/stdin", "0.3"),
    ("wasi:cli/stdout", "0.3"),
    ("wasi:cli/terminal-input", "0.3"),
    ("wasi:cli/terminal-output", "0.3"),
    ("wasi:cli/terminal-stderr", "0.3"),
    ("wasi:cli/terminal-stdin", "0.3"),
    ("wasi:cli/terminal-stdout", "0.3"),
    ("wasi:cli/types", "0.3"),
    ("wasi:clocks/monotonic-clock", "0.3"),
    ("wasi:clocks/system-clock", "0.3"),
    ("wasi:clocks/types", "0.3"),
    ("wasi:filesystem/preopens", "0.3"),
    ("wasi:filesystem/types", "0.3"),
    ("wasi:http/client", "0.3"),
    ("wasi:http/types", "0.3"),
    ("wasi:random/insecure", "0.3"),
    ("wasi:random/insecure-seed", "0.3"),
    ("wasi:random/random", "0.3"),
    ("wasi:sockets/ip-name-lookup", "0.3"),
    ("wasi:sockets/types", "0.3"),
];

/// The modules that core modules can import from.
const OFFERED_TO_MODULES: [&str; 2] = ["wasi_snapshot_preview1", "wasi_ephemeral_nn"];
/// What a command exports.
const COMMAND: [(&str, ExternalKind); 2] =
    [("_start", ExternalKind::Func), ("memory", ExternalKind::Memory)];

const HANDLER: &str = "wasi:http/incoming-handler";
const SERVICE_HANDLER: &str = "wasi:http/handler";
const NAMES_SHOWN_MAX: usize = 20;

/// What an upload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A component that answers through `wasi:http` 0.2.
    Component,
    /// One that answers through `wasi:http` 0.3.
    Service,
    /// A core module that is a WASI preview 1 command.
    Command,
}

/// Checks size, kind, completeness, imports and what must be exported.
pub(crate) fn check(bytes: &[u8], bytes_max: usize) -> Result<Kind, RuntimeError> {
    if bytes.len() > bytes_max {
        return Err(RuntimeError::TooLarge { bytes: bytes.len(), bytes_max });
    }
    let kind = kind(bytes)?;
    let outline = outline(bytes)?;
    if kind == Kind::Command {
        check_command(&outline)?;
        return Ok(kind);
    }
    let exports = |handler: &str, version: &str| {
        outline.exports.iter().any(|name| is(name, handler, version))
    };
    // One that has both is called as it always was.
    let kind = match exports(SERVICE_HANDLER, "0.3") && !exports(HANDLER, "0.2") {
        true => Kind::Service,
        false => kind,
    };
    let more = if kind == Kind::Service { OFFERED_TO_SERVICES } else { &[] };
    let unknown: Vec<UnknownImport> =
        outline.imports.iter().filter_map(|name| unknown(name, more)).collect();
    if !unknown.is_empty() {
        return Err(RuntimeError::UnknownImports(unknown));
    }
    if kind == Kind::Component && !exports(HANDLER, "0.2") {
        return Err(RuntimeError::MissingHandler(shown(&outline.exports)));
    }
    Ok(kind)
}

fn check_command(outline: &Outline) -> Result<(), RuntimeError> {
    let unknown: Vec<String> = outline
        .core_imports
        .iter()
        .filter(|(module, _)| !OFFERED_TO_MODULES.contains(&module.as_str()))
        .map(|(module, name)| format!("{module}.{name}"))
        .collect();
    if !unknown.is_empty() {
        return Err(RuntimeError::UnknownCoreImports(shown(&unknown)));
    }
    for (name, kind) in COMMAND {
        if !outline.core_exports.iter().any(|(known, of)| known == name && *of == kind) {
            return Err(RuntimeError::NotCommand(name));
        }
    }
    Ok(())
}

/// The packages of the host, for messages.
pub(crate) fn offered_packages() -> String {
    let mut packages: Vec<String> =
        OFFERED.iter().map(|(name, version)| package(name, version)).collect();
    packages.dedup();
    packages.join(", ")
}

fn package(interface: &str, version: &str) -> String {
    let package = interface.split('/').next().unwrap_or(interface);
    format!("{package}@{version}")
}

fn kind(bytes: &[u8]) -> Result<Kind, RuntimeError> {
    let magic = b"\0asm";
    if !bytes.starts_with(&magic[..bytes.len().min(magic.len())]) || bytes.is_empty() {
        return Err(RuntimeError::NotWasm);
    }
    if bytes.len() < 8 {
        return Err(RuntimeError::Truncated { offset: bytes.len() });
    }
    if Parser::is_component(bytes) {
        Ok(Kind::Component)
    } else if Parser::is_core_wasm(bytes) {
        Ok(Kind::Command)
    } else {
        Err(RuntimeError::UnknownVersion([bytes[4], bytes[5], bytes[6], bytes[7]]))
    }
}

#[derive(Default)]
struct Outline {
    imports: Vec<String>,
    exports: Vec<String>,
    /// A module's, by module and name.
    core_imports: Vec<(String, String)>,
    core_exports: Vec<(String, ExternalKind)>,
}

/// Walks all sections, nested ones too, and keeps the names at the component's own level.
fn outline(bytes: &[u8]) -> Result<Outline, RuntimeError> {
    let mut outline = Outline::default();
    let mut parents = Vec::new();
    let mut parser = Parser::new(0);
    let mut rest = bytes;
    while !(rest.is_empty() && parents.is_empty()) {
        let (consumed, payload) = match parser.parse(rest, false).map_err(malformed)? {
            Chunk::NeedMoreData(_) => return Err(RuntimeError::Truncated { offset: bytes.len() }),
            Chunk::Parsed { consumed, payload } => (consumed, payload),
        };
        rest = rest.get(consumed..).unwrap_or_default();
        match payload {
            Payload::ModuleSection { parser: nested, .. }
            | Payload::ComponentSection { parser: nested, .. } => {
                parents.push(std::mem::replace(&mut parser, nested));
            }
            Payload::End(_) => match parents.pop() {
                Some(parent) => parser = parent,
                None => break,
            },
            Payload::UnknownSection { id, range, .. } => {
                let reason = format!("unknown section {id}");
                return Err(RuntimeError::Malformed { offset: range.start as u64, reason });
            }
            other if parents.is_empty() => outline.add(other)?,
            _ => {}
        }
    }
    Ok(outline)
}

impl Outline {
    fn add(&mut self, payload: Payload<'_>) -> Result<(), RuntimeError> {
        match payload {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(malformed)?;
                    self.core_imports.push((import.module.to_owned(), import.name.to_owned()));
                }
                Ok(())
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.map_err(malformed)?;
                    self.core_exports.push((export.name.to_owned(), export.kind));
                }
                Ok(())
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    self.imports.push(import.map_err(malformed)?.name.name.to_owned());
                }
                Ok(())
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    self.exports.push(export.map_err(malformed)?.name.name.to_owned());
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that `map_err` wants")]
fn malformed(error: wasmparser::BinaryReaderError) -> RuntimeError {
    RuntimeError::Malformed { offset: error.offset() as u64, reason: error.message().to_owned() }
}

/// `None` when the host offers the import.
fn unknown(import: &str, more: &[(&str, &str)]) -> Option<UnknownImport> {
    if OFFERED.iter().chain(more).any(|(name, version)| is(import, name, version)) {
        return None;
    }
    let interface = import.split('@').next().unwrap_or(import);
    let package_name = interface.split('/').next().unwrap_or(interface);
    let same = OFFERED.iter().find(|(name, _)| *name == interface);
    let offered = match same {
        Some((name, version)) => Some(format!("{name}@{version}")),
        None => OFFERED
            .iter()
            .find(|(name, _)| name.split('/').next() == Some(package_name))
            .map(|(name, version)| package(name, version)),
    };
    Some(UnknownImport { name: import.to_owned(), offered })
}

fn is(full: &str, interface: &str, version: &str) -> bool {
    let Some((name, has)) = full.split_once('@') else { return false };
    let patch = has.strip_prefix(version).and_then(|rest| rest.strip_prefix('.'));
    let compatible = has == version
        || !version.contains('-')
            && patch.is_some_and(|patch| patch.bytes().all(|byte| byte.is_ascii_digit()));
    name == interface && compatible
}

fn shown(names: &[String]) -> String {
    match names {
        [] => "nothing".to_owned(),
        names => {
            let mut list =
                names.iter().take(NAMES_SHOWN_MAX).map(|n| format!("`{n}`")).collect::<Vec<_>>();
            if names.len() > NAMES_SHOWN_MAX {
                list.push(format!("and {} more", names.len() - NAMES_SHOWN_MAX));
            }
            list.join(", ")
        }
    }
}

#[cfg(test)]
mod tests;
