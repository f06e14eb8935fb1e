//! Exports, page by page.

use super::told::{AT_MS, HOUR_MS, Told, model_call, nano, october, org, told};
use crate::BillingError;
use crate::charge::{Part, Party};
use crate::money::Nano;
use crate::report::DayQuery;
use crate::statement::{ReceiptCsv, UsageCsv};

async fn whole(
    mut next: impl AsyncFnMut() -> Result<Option<String>, BillingError>,
) -> Result<Vec<String>, BillingError> {
    let mut pages = Vec::new();
    while let Some(page) = next().await? {
        pages.push(page);
    }
    Ok(pages)
}

#[tokio::test]
async fn usage_is_exported_day_by_day() {
    let told = told();
    let (from, to) = (october().first_day(), october().last_day());
    let mut csv = UsageCsv::new(&told, DayQuery { org: org(), from, to });
    let pages = whole(async || csv.next_page().await).await.unwrap();
    let header = "day,key,subject,version,model,calls,input_tokens,cached_input_tokens,\
        output_tokens,compute_micros,fuel,egress_bytes,cost\r\n";
    assert_eq!(
        pages.concat(),
        format!(
            "{header}\
        2026-10-20,key-1,tiny,,tiny,1,10,0,5,0,0,0,0.000003\r\n\
        2026-10-21,key-2,tiny,,tiny,1,10,0,2,0,0,0,0.0000018\r\n\
        2026-10-21,key-1,bo/fetch,3,,1,0,0,0,1500,0,0,0.00000115\r\n"
        )
    );
    let none = Told::default();
    let mut csv = UsageCsv::new(&none, DayQuery { org: org(), from, to });
    assert_eq!(whole(async || csv.next_page().await).await.unwrap(), [header]);
}

#[tokio::test]
async fn receipts_are_exported_in_bounded_pages_and_add_up() {
    let mut told = told();
    for index in 0..2500 {
        told.charge(AT_MS + index, "=key", model_call("tiny", 1));
    }
    // Long before, which ends the search; its charge, an hour before the month, is not in it.
    told.charge(october().starts_at_ms() - HOUR_MS, "old", model_call("tiny", 1));
    told.receipts[0].parts = vec![Part { party: Party::Promo, amount: nano("0.000003") }];
    told.receipts[0].late = true;
    let mut csv = ReceiptCsv::new(&told, org(), october());
    let pages = whole(async || csv.next_page().await).await.unwrap();
    assert!(pages.iter().all(|page| page.lines().count() <= 1001));
    let file = pages.concat();
    assert_eq!(file.matches("charged_at").count(), 1);
    assert_eq!(file.lines().count(), 1 + 3 + 2500);
    assert_eq!(file.matches(",\"'=key\",").count(), 2500);
    let first = told.receipts[0].call;
    assert!(file.contains(&format!(
        "{first},2026-10-20T12:00:00.000Z,key-1,tiny,,normal,true,1,1000,0.000003,0.000003,10,0,5,0,0,0\r\n"
    )));
    for off in [(1, Nano::ZERO, Nano::ZERO), (0, nano("0.000000001"), Nano::ZERO)] {
        let wrong = Told { off, ..told.clone() };
        let mut csv = ReceiptCsv::new(&wrong, org(), october());
        let error = whole(async || csv.next_page().await).await.unwrap_err();
        assert!(error.to_string().contains("the export has 2503 receipts"), "{error}");
        let open = Told { closed: false, ..wrong };
        let mut csv = ReceiptCsv::new(&open, org(), october());
        whole(async || csv.next_page().await).await.unwrap();
    }
}
