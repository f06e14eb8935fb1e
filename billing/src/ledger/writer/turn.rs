//! What is served at one time.

use tokio::sync::{mpsc, oneshot};

use super::{Job, Request};
use crate::document::Refunds;
use crate::error::BillingError;
use crate::ids::OrgId;
use crate::ledger::store::Wanted;
use crate::operation::Operation;
use crate::order::Act;
use crate::report::{Query, Report};
use crate::rules::State;

/// Jobs that were taken apart.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) questions: Vec<(Query, oneshot::Sender<Result<Report, BillingError>>)>,
    pub(super) closing: Option<oneshot::Sender<Result<(), BillingError>>>,
}

impl Turn {
    /// Takes the jobs apart; gives the operations.
    pub(super) fn sort(&mut self, jobs: &mut Vec<Job>) -> Vec<Request> {
        let mut requests = Vec::with_capacity(jobs.len());
        for job in jobs.drain(..) {
            match (job, &self.closing) {
                (Job::Operate(request), None) => requests.push(*request),
                (Job::Ask(query, reply), None) => self.questions.push((query, reply)),
                (Job::Close(closed), None) => self.closing = Some(closed),
                // Dropping a job tells its caller that the ledger is closed.
                (_, Some(_)) => {}
            }
        }
        requests
    }
}

/// What is in the queue by now.
pub(super) fn drain(queue: &mut mpsc::Receiver<Job>, most: usize, jobs: &mut Vec<Job>) {
    while let Some(job) = (jobs.len() < most).then(|| queue.try_recv().ok()).flatten() {
        jobs.push(job);
    }
}

impl Wanted {
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.entries.is_empty() && self.documents.is_empty()
    }
}

/// What must be looked up before a batch can be decided.
pub(super) fn wanted(requests: &[Request], state: &State) -> Wanted {
    let mut wanted = Wanted::default();
    let is_open = |org: &OrgId, call| state.hold(call).is_some_and(|hold| hold.org == *org);
    for request in requests {
        match &request.operation {
            Operation::Hold(hold) => wanted.calls.push((hold.org.clone(), hold.call)),
            Operation::Capture(capture) if is_open(&capture.org, capture.call) => {}
            Operation::Capture(capture) => {
                wanted.calls.push((capture.org.clone(), capture.call));
            }
            Operation::Void { org, call } if is_open(org, *call) => {}
            Operation::Void { org, call } => wanted.calls.push((org.clone(), *call)),
            Operation::Order(order) => {
                wanted.entries.push(order.op.clone());
                if let Act::Refund { org, call, .. } = &order.act {
                    wanted.calls.push((org.clone(), *call));
                    wanted.documents.push(Refunds::key(org.as_str(), Some(*call)));
                }
            }
        }
    }
    wanted
}
