//! Where functions run: in this process, or in workers.

use std::sync::Arc;

use emberbox_runtime::{
    Artifacts, Build, Call, CallError, Deployment, Engine, Grants, Limits, RuntimeError, Started,
};

use crate::isolate::{DeployError, RemoteFunction, Workers};

/// Where functions run.
pub(crate) enum Sandbox {
    /// Beside everything else.
    Here(Engine),
    /// In processes of their own.
    Apart(Workers),
}

/// A version of a function that can be called.
pub(crate) enum Function {
    /// Beside everything else.
    Here(Deployment),
    /// In a worker.
    Apart(RemoteFunction),
}

impl Sandbox {
    /// Makes a version ready from its compiled code; `None` where there is none. Gives it with the
    /// bytes of its code.
    pub(super) async fn load(
        &self,
        artifacts: &Arc<Artifacts>,
        (org_id, digest): (&str, &str),
        (limits, grants): (Limits, Grants),
    ) -> Result<Option<(Function, usize)>, DeployError> {
        match self {
            Self::Here(engine) => {
                let what = (digest.to_owned(), limits, grants);
                let loaded = load(engine.clone(), Arc::clone(artifacts), what).await?;
                Ok(loaded.map(|(deployment, bytes)| (Function::Here(deployment), bytes)))
            }
            Self::Apart(workers) => {
                let deployed = workers.deploy((org_id, digest), (limits, grants)).await?;
                Ok(deployed.map(|(function, bytes)| (Function::Apart(function), bytes)))
            }
        }
    }
}

/// Maps compiled code and links it, in this process.
pub(crate) async fn load(
    engine: Engine,
    artifacts: Arc<Artifacts>,
    (digest, limits, grants): (String, Limits, Grants),
) -> Result<Option<(Deployment, usize)>, DeployError> {
    let load = move || {
        let build = Build { digest, metering: limits.metering() };
        let compiled = artifacts.read(&build).map_err(DeployError::of_code)?;
        let Some(compiled) = compiled else { return Ok(None) };
        let deployment = Deployment::new(&engine, &compiled, limits, grants)?;
        Ok(Some((deployment, compiled.bytes())))
    };
    let loaded = tokio::task::spawn_blocking(load).await;
    loaded.unwrap_or_else(|error| Err(DeployError::Failed(error.to_string())))
}

impl Function {
    /// What a call may use.
    pub(crate) fn limits(&self) -> &Limits {
        match self {
            Self::Here(deployment) => deployment.limits(),
            Self::Apart(function) => function.limits(),
        }
    }

    /// What the function may see.
    pub(crate) fn grants(&self) -> &Grants {
        match self {
            Self::Here(deployment) => deployment.grants(),
            Self::Apart(function) => function.grants(),
        }
    }

    /// Starts one request; as [`Deployment::start`].
    pub(crate) fn start(&self, call: Call) -> Result<Started, CallError> {
        match self {
            Self::Here(deployment) => deployment.start(call),
            Self::Apart(function) => function.start(call),
        }
    }
}

/// Says why a version cannot run, for whoever may be in another process.
impl From<RuntimeError> for DeployError {
    fn from(error: RuntimeError) -> Self {
        let reason = error.to_string();
        match error {
            RuntimeError::Limit { field, .. } => Self::Limit { field: field.to_owned(), reason },
            RuntimeError::NotReusable => Self::NotReusable(reason),
            RuntimeError::TooLarge { .. } => Self::TooLarge,
            RuntimeError::Engine(_) | RuntimeError::Timer(_) | RuntimeError::Artifact(_) => {
                Self::Failed(reason)
            }
            _ => Self::Refused(reason),
        }
    }
}
