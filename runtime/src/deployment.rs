use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tracing::Instrument;
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p3::bindings::ServicePre;

use crate::artifact::Code;
use crate::call::{self, Answer, Call, CallError, Head, Report, Started};
use crate::engine::Tasks;
use crate::heavy::HEAVY_AFTER;
use crate::instance::{self, Bounds, Idle, Job, Program};
use crate::meter::Shared;
use crate::{Compiled, Engine, Grants, Limits, Metering, RuntimeError, headers, heavy};

/// One version of a function: checked, compiled, linked. A clone is another handle to it.
#[derive(Clone)]
pub struct Deployment {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    program: Program,
    limits: Limits,
    grants: Grants,
    idle: Arc<Idle>,
}

impl Deployment {
    /// Checks, compiles and links a component: [`Compiled::new`], then [`Deployment::new`].
    ///
    /// # Errors
    /// As those two.
    pub fn compile(
        engine: &Engine,
        component: &[u8],
        limits: Limits,
        grants: Grants,
    ) -> Result<Self, RuntimeError> {
        limits.validate(engine.options().memory_bytes_max)?;
        let compiled = Compiled::new(engine, component, limits.metering())?;
        Self::new(engine, &compiled, limits, grants)
    }

    /// Links a compiled component with what it may use and see.
    ///
    /// # Errors
    /// [`RuntimeError::Limit`] names a limit that is out of range, [`RuntimeError::Mismatch`] an
    /// import or export of another shape.
    pub fn new(
        engine: &Engine,
        compiled: &Compiled,
        limits: Limits,
        grants: Grants,
    ) -> Result<Self, RuntimeError> {
        limits.validate(engine.options().memory_bytes_max)?;
        same_metering(&limits, compiled.flavour.metering)?;
        let linked = engine.of(compiled.flavour)?;
        let program = match (&compiled.code, compiled.flavour.tasks) {
            (Code::Component(component), Tasks::One) => {
                let pre = linked.components.instantiate_pre(component);
                pre.and_then(ProxyPre::new).map(Program::Component)
            }
            (Code::Component(component), Tasks::Several) => {
                let pre = linked.components.instantiate_pre(component);
                pre.and_then(ServicePre::new).map(Program::Service)
            }
            (Code::Module(module), _) => {
                linked.commands.instantiate_pre(module).map(Program::Command)
            }
        };
        let program = program.map_err(RuntimeError::Mismatch)?;
        if grants.reuse && !matches!(program, Program::Component(_)) {
            return Err(RuntimeError::NotReusable);
        }
        let idle = Idle::new(engine.idle_places());
        let inner = Inner { engine: engine.clone(), program, limits, grants, idle };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The same compiled component with other limits and grants.
    ///
    /// # Errors
    /// [`RuntimeError::Limit`] names a limit that is out of range.
    pub fn with(&self, limits: Limits, grants: Grants) -> Result<Self, RuntimeError> {
        limits.validate(self.inner.engine.options().memory_bytes_max)?;
        same_metering(&limits, self.inner.limits.metering())?;
        let Inner { engine, program, .. } = &*self.inner;
        let (program, idle) = (program.clone(), Idle::new(engine.idle_places()));
        let inner = Inner { engine: engine.clone(), program, limits, grants, idle };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What a call of this deployment may use.
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// What the function may see.
    pub fn grants(&self) -> &Grants {
        &self.inner.grants
    }

    /// Runs one request in an instance, and waits for the head of its answer. Dropping the
    /// future stops the guest; use [`Deployment::start`] where the report is wanted even then.
    ///
    /// # Errors
    /// As [`Deployment::start`] and [`Head`].
    pub async fn call(&self, call: Call) -> Result<Answer, CallError> {
        let Started { head, report } = self.start(call)?;
        Ok(Answer { response: head.await?, report })
    }

    /// Starts one request as a task of the current tokio runtime. Dropping
    /// the head, or later the body, stops the guest and its inference; the report resolves
    /// whatever happens.
    ///
    /// # Errors
    /// `RequestInvalid` when the request names no host, `Overloaded` when all instances are
    /// taken.
    pub fn start(&self, call: Call) -> Result<Started, CallError> {
        let Inner { engine, program, limits, grants, idle } = &*self.inner;
        let mut call = call;
        headers::check_host(&call.request)?;
        headers::strip_request(call.request.headers_mut());
        let permit =
            Arc::clone(engine.permits()).try_acquire_owned().or(Err(CallError::Overloaded))?;

        let shared = Arc::new(Shared::new(limits.metering()));
        let (alive, gone) = watch::channel(());
        let (head, answered) = oneshot::channel();
        let method = call.request.method().clone();
        let models = Arc::clone(&call.models);
        let guest = program.guest(call, (limits, grants, idle), (&shared, head));
        let response_bytes_max = limits.response_bytes_max;
        let deadline = tokio::time::Instant::now() + Duration::from_millis(limits.wall_ms_max);
        let job = Job {
            engine: program.engine().clone(),
            guest,
            bounds: Bounds {
                limits: limits.clone(),
                models,
                deadline,
                shared: Arc::clone(&shared),
            },
            permit,
            alive: alive.clone(),
        };
        // What it does stands below whatever has called it.
        let used = Arc::clone(&shared);
        let work = instance::run(job).in_current_span();
        heavy::spawn(work, engine.heavy(), move || used.cpu() > HEAVY_AFTER);

        let report = Report::new(gone.clone(), Arc::clone(&shared));
        let after = Report::new(gone, Arc::clone(&shared));
        let client = call::Client::new(shared, alive);
        let body = call::BodyRules { method, response_bytes_max };
        Ok(Started { head: Head::new(answered, client, after, body), report })
    }
}

/// Compiled code counts either fuel or nothing.
fn same_metering(limits: &Limits, compiled: Metering) -> Result<(), RuntimeError> {
    if limits.metering() == compiled {
        return Ok(());
    }
    let reason = format!("is {:?}, and the code was compiled for the other kind", limits.fuel_max);
    Err(RuntimeError::Limit { field: "fuel_max", reason })
}
