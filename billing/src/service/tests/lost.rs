use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;

use super::life::{COST, capture, open_ledger, org, request, top_up};
use super::*;
use crate::error::BillingError;
use crate::ids::CallId;
use crate::report::ReceiptQuery;

/// A way between gateway and service that loses what a test wants lost.
pub(super) struct Way {
    pub(super) address: SocketAddr,
    open: Arc<Mutex<Arc<Stretch>>>,
}

/// What befalls the connections that were made in one stretch of time.
#[derive(Default)]
pub(super) struct Stretch {
    /// Swallows what the service says.
    swallows: AtomicBool,
    /// Cuts them.
    cut: watch::Sender<bool>,
}

impl Stretch {
    pub(super) fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Carries what both sides say, until one of them leaves.
    async fn carry(self: Arc<Stretch>, near: TcpStream, service: SocketAddr) {
        let Ok(far) = TcpStream::connect(service).await else { return };
        let (near_read, near_write) = near.into_split();
        let (far_read, far_write) = far.into_split();
        let mut cut = self.cut.subscribe();
        tokio::select! {
            () = carry(near_read, far_write, None) => {}
            () = carry(far_read, near_write, Some(&self.swallows)) => {}
            _ = cut.wait_for(|cut| *cut) => {}
        }
    }
}

impl Way {
    pub(super) async fn to(service: SocketAddr) -> Way {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::<Mutex<Arc<Stretch>>>::default();
        let opening = Arc::clone(&open);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let stretch = Arc::clone(&opening.lock().unwrap());
                tokio::spawn(stretch.carry(near, service));
            }
        });
        Way { address, open }
    }

    /// Ends a stretch of time: later connections are spared what befalls its own.
    pub(super) fn turn(&self) -> Arc<Stretch> {
        std::mem::take(&mut *self.open.lock().unwrap())
    }

    /// From now on, what the service says on the connections that are open is lost.
    fn lose(&self) -> Arc<Stretch> {
        let stretch = self.turn();
        stretch.swallows.store(true, Ordering::SeqCst);
        stretch
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, swallows: Option<&AtomicBool>) {
    let mut bytes = vec![0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if swallows.is_some_and(|swallows| swallows.load(Ordering::SeqCst)) {
            continue;
        }
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}

async fn charged(ledger: &Arc<dyn Billing>) -> usize {
    let query = ReceiptQuery { org: org(), before: None, limit: 1000 };
    ledger.receipts(query).await.unwrap().len()
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again_and_charged_once() {
    let site = Site::new();
    let ledger: Arc<dyn Billing> = Arc::new(open_ledger(&site));
    let service = site.serve(Arc::clone(&ledger), ServiceLimits::default()).await;
    let way = Way::to(service.address).await;
    let remote = RemoteBilling::connect(site.options(way.address)).await.unwrap();
    // An order, a hold and a capture, each done at the ledger while its answer is lost.
    let stretch = way.lose();
    let order = tokio::spawn({
        let remote = Arc::clone(&remote);
        async move { remote.order(top_up(1_000_000)).await }
    });
    until("the top-up is done", || async {
        ledger.balance(&org()).await.unwrap().posted.as_nano() > 0
    })
    .await;
    stretch.cut();
    order.await.unwrap().unwrap();
    assert_eq!(ledger.balance(&org()).await.unwrap().posted.as_nano(), 1_000_000);

    let call = CallId::generate();
    let stretch = way.lose();
    let hold = tokio::spawn({
        let remote = Arc::clone(&remote);
        async move { remote.hold(request(call)).await }
    });
    until("the hold is made", || async {
        ledger.balance(&org()).await.unwrap().held.as_nano() > 0
    })
    .await;
    stretch.cut();
    let mut hold = hold.await.unwrap().unwrap();
    hold.durable().await.unwrap();
    assert_eq!(ledger.balance(&org()).await.unwrap().held.as_nano(), 10_000);

    let stretch = way.lose();
    let captured = tokio::spawn({
        let remote = Arc::clone(&remote);
        async move { remote.capture(capture(call)).await }
    });
    until("the call is charged", || async { charged(&ledger).await == 1 }).await;
    stretch.cut();
    let captured = captured.await.unwrap().unwrap();
    assert_eq!(captured.balance.available.as_nano(), 1_000_000 - COST);
    assert_eq!(charged(&ledger).await, 1);
    assert_eq!(ledger.balance(&org()).await.unwrap().posted.as_nano(), 1_000_000 - COST);
    service.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_after_cut_loses_nothing_and_charges_nothing_twice() {
    const CLIENTS: usize = 16;
    const ROUNDS: usize = 25;
    let site = Site::new();
    let ledger: Arc<dyn Billing> = Arc::new(open_ledger(&site));
    let service = site.serve(Arc::clone(&ledger), ServiceLimits::default()).await;
    let way = Way::to(service.address).await;
    let remote = RemoteBilling::connect(site.options(way.address)).await.unwrap();
    remote.order(top_up(1_000_000_000)).await.unwrap();
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(calls(Arc::clone(&remote), ROUNDS))).collect();
    let mut seen = 0;
    for round in 1..=8 {
        let enough = CLIENTS * ROUNDS * round / 10;
        until("some more calls are charged", || async { charged(&ledger).await >= enough }).await;
        way.turn().cut();
        seen = enough;
    }
    for client in clients {
        client.await.unwrap();
    }
    assert!(seen > 0);
    assert_eq!(charged(&ledger).await, CLIENTS * ROUNDS);
    let spent = 1_000_000_000 - COST * i64::try_from(CLIENTS * ROUNDS).unwrap();
    let balance = ledger.balance(&org()).await.unwrap();
    assert_eq!((balance.posted.as_nano(), balance.held.as_nano()), (spent, 0));
    assert!(ledger.check().await.unwrap().ok);
    service.stop().await;
}

pub(super) async fn calls(remote: Arc<RemoteBilling>, rounds: usize) {
    for _ in 0..rounds {
        let call = CallId::generate();
        let mut hold = remote.hold(request(call)).await.unwrap();
        hold.durable().await.unwrap();
        remote.capture(capture(call)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_that_restarts_is_waited_for() {
    const CLIENTS: usize = 16;
    const ROUNDS: usize = 20;
    let site = Site::new();
    let mut ledger = open_ledger(&site);
    let limits = ServiceLimits { grace: Duration::ZERO, ..ServiceLimits::default() };
    let mut service = site.serve(Arc::new(ledger.clone()), limits.clone()).await;
    let remote = site.connect(&service).await;
    remote.order(top_up(1_000_000_000)).await.unwrap();
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| tokio::spawn(calls(Arc::clone(&remote), ROUNDS))).collect();
    for round in 1..=3 {
        let enough = CLIENTS * ROUNDS * round / 5;
        let billing: Arc<dyn Billing> = Arc::new(ledger.clone());
        until("some more calls are charged", || async { charged(&billing).await >= enough }).await;
        drop(billing);
        // The service goes in mid-stream, and the ledger with it.
        let address = service.stop().await;
        ledger.close().await.unwrap();
        ledger = reopen(&site).await;
        let listener = TcpListener::bind(address).await.unwrap();
        service = site.serve_on(listener, Arc::new(ledger.clone()), limits.clone());
    }
    for client in clients {
        client.await.unwrap();
    }
    let billing: Arc<dyn Billing> = Arc::new(ledger.clone());
    assert_eq!(charged(&billing).await, CLIENTS * ROUNDS);
    let balance = billing.balance(&org()).await.unwrap();
    assert_eq!(balance.held.as_nano(), 0);
    assert!(billing.check().await.unwrap().ok);
    service.stop().await;
}

/// Opens the ledger again, as soon as the last one who had it lets go.
async fn reopen(site: &Site) -> crate::Ledger {
    let options = crate::LedgerOptions {
        path: site.path().join("ledger.db"),
        busy_ms: 60_000,
        ..crate::LedgerOptions::default()
    };
    tokio::task::spawn_blocking(|| crate::Ledger::open(options).unwrap()).await.unwrap()
}

#[tokio::test]
async fn who_cannot_be_reached_is_given_up_in_time() {
    let site = Site::new();
    let ledger: Arc<dyn Billing> = Arc::new(open_ledger(&site));
    let service = site.serve(ledger, ServiceLimits::default()).await;
    let mut options = site.options(service.address);
    options.limits.hold_retry_for = Duration::from_millis(100);
    options.limits.retry_for = Duration::from_millis(200);
    let remote = RemoteBilling::connect(options).await.unwrap();
    service.stop().await;
    let call = CallId::generate();
    let hold = remote.hold(request(call)).await.map(drop);
    let void = remote.void(org(), call).await;
    let captured = remote.capture(capture(call)).await.map(drop);
    let ordered = remote.order(top_up(1)).await.map(drop);
    let asked = remote.ask(crate::Query::Periods).await.map(drop);
    for (what, answer) in
        [("hold", hold), ("void", void), ("capture", captured), ("order", ordered), ("ask", asked)]
    {
        assert!(matches!(answer, Err(BillingError::Unreachable(_))), "{what}: {answer:?}");
    }
    // The prices that were fetched last still stand.
    assert_eq!(remote.prices().await.unwrap().version.0, 1);
}

#[tokio::test]
async fn a_service_that_says_nothing_is_given_up_too() {
    let site = Site::new();
    let ledger: Arc<dyn Billing> = Arc::new(open_ledger(&site));
    let service = site.serve(Arc::clone(&ledger), ServiceLimits::default()).await;
    let way = Way::to(service.address).await;
    let mut options = site.options(way.address);
    options.limits.attempt_deadline = Duration::from_millis(300);
    let remote = RemoteBilling::connect(options).await.unwrap();
    way.lose();
    let order = tokio::spawn({
        let remote = Arc::clone(&remote);
        async move { remote.order(top_up(1_000_000)).await }
    });
    until("the top-up is done", || async {
        ledger.balance(&org()).await.unwrap().posted.as_nano() > 0
    })
    .await;
    // Nobody cuts the connection: the client itself gives it up, and asks on another.
    order.await.unwrap().unwrap();
    assert_eq!(ledger.balance(&org()).await.unwrap().posted.as_nano(), 1_000_000);
    service.stop().await;
}
