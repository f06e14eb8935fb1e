//! From version 2 of the SQLite file: the fixture was made by the program of that version, and a call
//! that had expired, which moves nothing, was put beside the others.
//! Which lots such a call had set aside was not kept then.

use super::*;

const FIXTURE: &[u8] = include_bytes!("../../../tests/fixtures/ledger-v2.db");

#[tokio::test]
async fn a_ledger_of_version_2_goes_on() {
    let bench = Bench::sqlite();
    std::fs::write(bench.path(), FIXTURE).unwrap();
    // As a backup is, before a server has it.
    assert!(audit_file(&bench.path()).unwrap().ok);
    let rows = "
        balance acme                -> 2600 - 0 = 2600
        capture c9 acme 0 calls=1   -> late 2000: platform 1000, author 1000
        capture c9 acme 0 calls=1   -> late 2000: platform 1000, author 1000
        balance acme                -> 600 - 0 = 600
        grant acme 1600 op=grant    -> lot 2
        hold c10 acme 2000 function=f fee=1000 ttl=10
        wait 10
        restart
        capture c10 acme 0 calls=1  -> late 2000: platform 200, author 200, promo 1600
        balance acme                -> 200 - 0 = 200
    ";
    table::check(&bench, "version 2", rows).await;
    let version: i64 =
        bench.intruder().query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 3);
}
