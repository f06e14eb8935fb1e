use std::sync::Arc;

use bytes::Bytes;
use emberbox_billing::{
    Billing, BillingError, Day, DayQuery, EarningsRow, OrgId, Period, ReceiptCsv, Role, Subject,
    UsageCsv,
};
use futures::stream;
use http::HeaderValue;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::sync::mpsc;

use crate::app::App;
use crate::body::{Body, BoxError};
use crate::errors::ApiError;
use crate::stack::Response;

/// Pages that may wait for a client that reads slowly.
const PAGES_WAITING_MAX: usize = 2;

const EARNINGS_HEADER: &str = "day,role,subject,version,calls,amount\r\n";

/// What is exported page by page.
enum Export {
    Usage(DayQuery),
    Earnings(DayQuery),
    Receipts(OrgId, Period),
}

type Page = Result<String, BillingError>;

/// Usage by day, key, subject and model, as it is read.
pub(crate) async fn usage(app: &App, query: DayQuery) -> Result<Response, ApiError> {
    let name = format!("usage-{}-{}.csv", query.from, query.to);
    pages(app, Export::Usage(query), &name).await
}

/// The receipts of a month, as they are read.
pub(crate) async fn receipts(app: &App, org: OrgId, period: Period) -> Result<Response, ApiError> {
    let name = format!("receipts-{period}.csv");
    pages(app, Export::Receipts(org, period), &name).await
}

/// What was earned, by day, role and subject, as it is read.
pub(crate) async fn earnings(app: &App, query: DayQuery) -> Result<Response, ApiError> {
    let name = format!("earnings-{}-{}.csv", query.from, query.to);
    pages(app, Export::Earnings(query), &name).await
}

fn push_earned(page: &mut String, row: &EarningsRow) {
    let role = match row.role {
        Role::Author => "author",
        Role::ModelOwner => "model_owner",
        Role::Provider => "provider",
    };
    let (subject, version) = match &row.subject {
        Subject::Model(model) => (model.clone(), String::new()),
        Subject::Function { owner, name, version } => {
            (format!("{owner}/{name}"), version.to_string())
        }
    };
    let subject = cell(&subject);
    let (day, calls, amount) = (row.day, row.calls, row.amount);
    page.push_str(&format!("{day},{role},{subject},{version},{calls},{amount}\r\n"));
}

/// A cell that no spreadsheet takes for a formula.
fn cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let quote = if formula { "'" } else { "" };
    format!("\"{quote}{}\"", text.replace('"', "\"\""))
}

/// The first page is waited for, so that what fails at once is an error with a status. What fails
/// later breaks the connection: half a file must not look like a whole one.
async fn pages(app: &App, export: Export, name: &str) -> Result<Response, ApiError> {
    let (sender, mut receiver) = mpsc::channel::<Page>(PAGES_WAITING_MAX);
    let billing = Arc::clone(&app.billing);
    tokio::spawn(async move { produce(&*billing, export, &sender).await });
    let first = match receiver.recv().await {
        Some(first) => first?,
        None => String::new(),
    };
    let state = (Some(first), receiver);
    let frames = stream::unfold(state, |(first, mut receiver)| async move {
        let page = match first {
            Some(page) => Ok(page),
            None => receiver.recv().await?,
        };
        let frame = page.map(|page| Frame::data(Bytes::from(page))).map_err(BoxError::from);
        Some((frame, (None, receiver)))
    });
    csv(StreamBody::new(frames).boxed_unsync(), name)
}

async fn produce(billing: &dyn Billing, export: Export, pages: &mpsc::Sender<Page>) {
    match export {
        Export::Usage(query) => {
            let mut csv = UsageCsv::new(billing, query);
            while send(pages, csv.next_page().await).await {}
        }
        Export::Earnings(query) => produce_earnings(billing, query, pages).await,
        Export::Receipts(org, period) => {
            let mut csv = ReceiptCsv::new(billing, org, period);
            while send(pages, csv.next_page().await).await {}
        }
    }
}

/// A page for each day: no more of it is in memory.
async fn produce_earnings(billing: &dyn Billing, query: DayQuery, pages: &mpsc::Sender<Page>) {
    let mut page = EARNINGS_HEADER.to_owned();
    for day in (query.from.number()..=query.to.number()).map(Day::from_number) {
        match billing.earnings(&query.org, day, day).await {
            Ok(rows) => rows.iter().for_each(|row| push_earned(&mut page, row)),
            Err(error) => {
                send(pages, Err(error)).await;
                return;
            }
        }
        if !page.is_empty() && !send(pages, Ok(Some(std::mem::take(&mut page)))).await {
            return;
        }
    }
}

/// Whether there may be more to send: not after the last page, an error, or the client's end.
async fn send(pages: &mpsc::Sender<Page>, page: Result<Option<String>, BillingError>) -> bool {
    match page.transpose() {
        None => false,
        Some(page) => {
            let good = page.is_ok();
            pages.send(page).await.is_ok() && good
        }
    }
}

fn csv(body: Body, name: &str) -> Result<Response, ApiError> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    let kind = HeaderValue::from_static("text/csv; charset=utf-8; header=present");
    headers.insert(CONTENT_TYPE, kind);
    let file = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""))
        .map_err(|error| ApiError::internal("the name of an export", &error))?;
    headers.insert(CONTENT_DISPOSITION, file);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_no_formulas() {
        for (text, expect) in [
            ("tiny", "\"tiny\""),
            ("a,\"b\"", "\"a,\"\"b\"\"\""),
            ("=1+1", "\"'=1+1\""),
            ("", "\"\""),
        ] {
            assert_eq!(cell(text), expect);
        }
    }
}
