use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::json;

use super::chat;
use crate::server::{Server, text};
use crate::world::World;

/// Browsers that print without a window, as Debian and others name them.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
/// What a browser must not do by itself.
const QUIET: [&str; 8] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-pdf-header-footer",
];
/// So many payments do not fit on one page.
const PAYMENTS: usize = 60;
/// Before the number of a page, at its foot.
const PAGE: &str = "Page ";

/// The page of an invoice, printed by a browser where the machine has one: it has everything that
/// an invoice has, on as many pages as it says, each with its number and the heads of its columns.
pub(super) fn prints(world: &World) -> anyhow::Result<String> {
    let home = world.folder("print")?;
    let seller = ("EMBERBOX_PAYMENTS_SELLER", "Ember & Sons Ltd | 1 Foundry Road | VAT 123");
    let server = Server::start(world, &home, &[seller])?;
    let org = server.org("printed", Some("1"))?;
    ensure!(chat(&org)? == 200, "the call was not charged");
    let admin = server.admin()?;
    for number in 1..PAYMENTS {
        let (id, note) = (format!("p{number}"), "wire transfer");
        let paid = json!({ "org": "printed", "amount": "1", "id": id, "reference": id,
            "note": note });
        admin.post("/admin/v1/credits", &paid)?.ok()?;
    }
    let months = org.api.get("/v1/invoices")?.ok()?;
    let (month, number) = (text(&months, "/data/0/period")?, text(&months, "/data/0/number")?);
    let invoice = org.api.get(&format!("/v1/invoices/{month}"))?.ok()?;
    let page = org.api.get(&format!("/v1/invoices/{month}.html"))?;
    let html = String::from_utf8_lossy(&page.body).into_owned();
    ensure!(page.status == 200 && html.contains("</html>"), "status {}: {html}", page.status);
    ensure!(!html.contains("<script") && !html.contains("http:"), "the page loads something");
    let (file, pdf) = (home.join("invoice.html"), home.join("invoice.pdf"));
    std::fs::write(&file, &page.body)?;
    server.stop()?;
    let Some(browser) = program(&BROWSERS) else {
        return Ok(format!("{} bytes of HTML; not printed: no Chromium here", page.body.len()));
    };
    let mut print = Command::new(browser);
    print
        .args(QUIET)
        .arg(format!("--user-data-dir={}", home.join("browser").display()))
        .arg(format!("--print-to-pdf={}", pdf.display()))
        .arg(format!("file://{}", file.display()));
    let output = print.output().context("cannot start the browser")?;
    let said = String::from_utf8_lossy(&output.stderr);
    let printed = std::fs::read(&pdf).with_context(|| said.into_owned())?;
    ensure!(printed.starts_with(b"%PDF-"), "what was printed is no PDF");
    let Some(reader) = program(&["pdftotext"]) else {
        return Ok(format!("printed as {} bytes of PDF; not read: no pdftotext", printed.len()));
    };
    let pages = read(&reader, &pdf)?;
    let total = text(&invoice, "/total")?;
    let first = ["Invoice", "Ember & Sons Ltd", "VAT 123", "printed", &number, &total];
    has(&pages, 0, &first)?;
    ensure!(pages.len() > 1, "{PAYMENTS} payments are on one page");
    for at in 0..pages.len() {
        let foot = format!("{PAGE}{} of {}", at + 1, pages.len());
        has(&pages, at, &[&number, &foot])?;
    }
    // What goes on on the next page has its columns named there again.
    has(&pages, 1, &["Reference and note", "Amount", "wire transfer"])?;
    has(&pages, pages.len() - 1, &["Paid (top-ups less chargebacks)", "nothing is rounded"])?;
    let rows: usize = pages.iter().map(|page| page.matches("wire transfer").count()).sum();
    ensure!(rows == PAYMENTS - 1, "{rows} of {} payments are on paper", PAYMENTS - 1);
    Ok(format!("{} bytes of HTML on {} pages, text and numbers checked", html.len(), pages.len()))
}

/// The text of each page.
fn read(reader: &Path, pdf: &Path) -> anyhow::Result<Vec<String>> {
    let output = Command::new(reader).arg("-layout").arg(pdf).arg("-").output()?;
    ensure!(output.status.success(), "pdftotext: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).context("pdftotext wrote no UTF-8")?;
    // Every page ends with a form feed.
    let mut pages: Vec<String> = text.split('\u{c}').map(str::to_owned).collect();
    pages.pop();
    Ok(pages)
}

fn has(pages: &[String], at: usize, wanted: &[&str]) -> anyhow::Result<()> {
    let page = pages.get(at).with_context(|| format!("there is no page {}", at + 1))?;
    for text in wanted {
        ensure!(page.contains(text), "page {} does not say {text:?}:\n{page}", at + 1);
    }
    Ok(())
}

/// A program of one of these names, where the machine has it.
fn program(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut places =
        names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    places.find(|place| place.is_file())
}
