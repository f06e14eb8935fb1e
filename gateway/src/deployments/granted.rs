use emberbox_runtime::{Grants, Metering, Secrets};

use super::Deployments;
use crate::call_limits::{self, CallLimits};
use crate::egress::Egress;
use crate::errors::ApiError;
use crate::manage::policy::Policy;
use crate::manifest::Manifest;

impl Deployments {
    /// Refuses what the function will not be granted, by name.
    pub(super) fn check(
        &self,
        egress: &Egress,
        manifest: &Manifest,
        policy: &Policy,
    ) -> Result<(), ApiError> {
        let hosts = egress.refusal(&manifest.outbound_hosts, policy.outbound_hosts.as_ref());
        if let Some((host, why)) = hosts {
            let reason = format!("{host} is not granted: {why}");
            return Err(ApiError::field("function.outbound_hosts", reason));
        }
        match self.refuses_loading(policy).filter(|_| manifest.load_models) {
            None => Ok(()),
            Some(why) => {
                Err(ApiError::field("function.load_models", format!("it is not granted: {why}")))
            }
        }
    }

    /// Who says no to models from a guest's memory, if anybody does.
    fn refuses_loading(&self, policy: &Policy) -> Option<&'static str> {
        if !self.allowed.load_models {
            return Some("this server does not allow it (function_limits.load_models)");
        }
        let forbidden = policy.load_models == Some(false);
        forbidden.then_some("the organisation's policy does not allow it")
    }

    /// What a function may see and use.
    pub(super) fn grants(&self, manifest: &Manifest, policy: &Policy, secrets: Secrets) -> Grants {
        Grants {
            models: manifest.models.clone(),
            load: manifest.load_models && self.refuses_loading(policy).is_none(),
            environment: manifest.environment.clone(),
            secrets,
            arguments: manifest.arguments.clone(),
            reuse: manifest.reuse_instances,
        }
    }

    /// How computing is counted.
    pub(super) fn metering(&self, manifest: &Manifest) -> Metering {
        match self.allowed.metering {
            Metering::Cpu => manifest.metering,
            Metering::Fuel => Metering::Fuel,
        }
    }

    /// Refuses limits that the operator does not allow, by name.
    pub(crate) fn check_limits(&self, manifest: &Manifest) -> Result<(), ApiError> {
        for limit in call_limits::ALL {
            let (asked, allowed) = (limit.get(&manifest.limits), limit.get(&self.allowed.call));
            // What a manifest does not ask for is no reason to refuse it: it gets what is allowed.
            if asked > allowed && asked != limit.get(&CallLimits::USUAL) {
                return Err(ApiError::field(
                    &format!("limits.{}", limit.name),
                    format!("{asked} is more than this server allows, which is {allowed}"),
                ));
            }
        }
        Ok(())
    }
}
