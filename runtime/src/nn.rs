use std::sync::Arc;

use wasmtime::component::{Linker, ResourceTable};

use crate::instance::State;
use crate::meter::Shared;
use crate::{Call, Grants, Limits};

/// What `wasi:nn` keeps for one call.
pub(crate) struct NnCtx {
    pub(crate) shared: Arc<Shared>,
}

impl NnCtx {
    pub(crate) fn new(
        _call: &Call,
        _limits: &Limits,
        _grants: &Grants,
        shared: Arc<Shared>,
    ) -> Self {
        Self { shared }
    }
}

/// A store's `wasi:nn` state and its handles.
pub(crate) struct NnView<'a> {
    pub(crate) ctx: &'a mut NnCtx,
    pub(crate) table: &'a mut ResourceTable,
}

pub(crate) fn add_to_linker(_linker: &mut Linker<State>) -> wasmtime::Result<()> {
    Ok(())
}
