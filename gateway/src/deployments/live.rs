use std::sync::Arc;
use std::time::Instant;

use emberbox_billing::{AuthorPrice, Nano, OrgId};
use emberbox_runtime::outbound::Outbound;

use super::Function;
use crate::egress::{Door, Egress, Rules};
use crate::manifest::Manifest;

/// A version that is ready to be called, with everything that a call needs to know of it.
pub(crate) struct Live {
    pub(crate) owner: String,
    pub(crate) org_id: String,
    pub(crate) name: String,
    pub(crate) version: u64,
    pub(crate) max_cost_per_call: Nano,
    pub(crate) author: Option<AuthorPrice>,
    pub(crate) function: Function,
    /// Calls that may be in progress at a time.
    pub(crate) concurrency: u64,
    /// Where it may send requests.
    pub(crate) outbound_hosts: Rules,
    /// Bytes of its compiled code.
    pub(crate) code_bytes: usize,
    /// Until when its secrets are believed.
    pub(crate) secrets_until: Option<Instant>,
}

/// What a manifest became on this server, whatever its version's number.
pub(super) struct Ready {
    pub(super) function: Function,
    pub(super) concurrency: u64,
    pub(super) outbound_hosts: Rules,
    pub(super) code_bytes: usize,
    pub(super) secrets_until: Option<Instant>,
}

impl Live {
    pub(super) fn new(
        (owner, org_id, version): (&str, &str, u64),
        manifest: &Manifest,
        ready: Ready,
    ) -> Arc<Self> {
        let Ready { function, concurrency, outbound_hosts, code_bytes, secrets_until } = ready;
        Arc::new(Self {
            owner: owner.to_owned(),
            org_id: org_id.to_owned(),
            name: manifest.name.clone(),
            version,
            max_cost_per_call: manifest.max_cost_per_call,
            author: author(org_id, manifest),
            function,
            concurrency,
            outbound_hosts,
            code_bytes,
            secrets_until,
        })
    }

    /// Its way out, where it has one.
    pub(crate) fn door(&self, egress: &Arc<Egress>) -> Option<Arc<dyn Outbound>> {
        let hosts = self.outbound_hosts.clone();
        let open = !hosts.is_empty();
        open.then(|| Arc::new(Door { egress: Arc::clone(egress), hosts }) as Arc<dyn Outbound>)
    }
}

/// What the author adds to the price; nothing when the manifest names no price.
fn author(org_id: &str, manifest: &Manifest) -> Option<AuthorPrice> {
    let price = manifest.price;
    let free = price.call_fee.as_nano() == 0 && price.compute_markup_bps == 0;
    (!free).then(|| AuthorPrice {
        org: OrgId::new(org_id),
        call_fee: price.call_fee,
        compute_markup_bps: price.compute_markup_bps,
    })
}
