use std::fmt;

/// Why an engine or a deployment could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine could not be configured.
    #[error("the engine could not start: {}", chain(.0))]
    Engine(#[source] wasmtime::Error),
    /// The thread that ticks, or those of guests that compute for long, could not be started.
    #[error("the engine's threads could not start")]
    Timer(#[source] std::io::Error),
    /// A limit is outside what is allowed.
    #[error("limit `{field}`: {reason}")]
    Limit {
        /// The field at fault.
        field: &'static str,
        /// What is allowed.
        reason: String,
    },
    /// The upload is larger than the engine accepts.
    #[error("the component has {bytes} bytes; at most {bytes_max} are accepted")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The most that is accepted.
        bytes_max: usize,
    },
    /// The upload does not start as WebAssembly does.
    #[error("this is not WebAssembly: the file does not start with `\\0asm`")]
    NotWasm,
    /// A core module that is no program.
    #[error(
        "this is a core module, and not a WASI command: it does not export `{0}`; build it as a \
         program for the target wasm32-wasip1, or as a component for wasm32-wasip2"
    )]
    NotCommand(&'static str),
    /// A program that cannot answer twice.
    #[error(
        "only instances of components for wasi:http 0.2 can be reused: a core module runs once, \
         and what a component of 0.3 still does after its answer has no end that the host sees"
    )]
    NotReusable,
    /// A core module that needs what the host does not have.
    #[error(
        "the module imports what this host does not offer: {0}; it offers wasi_snapshot_preview1 \
         and wasi_ephemeral_nn"
    )]
    UnknownCoreImports(String),
    /// A binary of a version that this host does not know.
    #[error("this is WebAssembly of an unknown version ({0:02x?})")]
    UnknownVersion([u8; 4]),
    /// The upload stops in the middle of a section.
    #[error("the component is truncated: it ends at byte {offset}, inside a section")]
    Truncated {
        /// Its size.
        offset: usize,
    },
    /// The upload breaks a rule of the format.
    #[error("the component is not valid at byte {offset}: {reason}")]
    Malformed {
        /// Where.
        offset: u64,
        /// The rule.
        reason: String,
    },
    /// The component needs what the host does not have.
    #[error("the component imports what this host does not offer: {}", list(.0))]
    UnknownImports(Vec<UnknownImport>),
    /// The component does not answer HTTP requests.
    #[error(
        "the component exports neither wasi:http/incoming-handler@0.2 nor wasi:http/handler@0.3, so \
         it cannot answer requests; it exports {0}"
    )]
    MissingHandler(String),
    /// An import or export has the right name and another shape.
    #[error("the component does not fit the host's interfaces: {}", chain(.0))]
    Mismatch(#[source] wasmtime::Error),
    /// The compiler refused the component.
    #[error("the component could not be compiled: {}", chain(.0))]
    Compile(#[source] wasmtime::Error),
    /// Compiled code could not be kept, or read back.
    #[error("compiled code could not be kept or read: {0}")]
    Artifact(std::io::Error),
}

/// An import that the host cannot satisfy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownImport {
    /// The import's full name, with its version.
    pub name: String,
    /// What the host has instead: the same interface at another version, or its package.
    pub offered: Option<String>,
}

impl fmt::Display for UnknownImport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.offered {
            Some(offered) => write!(f, "`{}` (offered: {offered})", self.name),
            None => write!(f, "`{}`", self.name),
        }
    }
}

fn list(imports: &[UnknownImport]) -> String {
    let names: Vec<String> = imports.iter().map(UnknownImport::to_string).collect();
    format!("{}; it offers {}", names.join(", "), crate::validate::offered_packages())
}

/// An error with its causes, outermost first.
pub(crate) fn chain(error: &wasmtime::Error) -> String {
    let parts: Vec<String> = error.chain().map(ToString::to_string).collect();
    parts.join(": ")
}
