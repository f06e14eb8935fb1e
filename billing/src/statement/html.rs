//! The invoice as one page of HTML. Everything that a person could have written is escaped.

use std::fmt::{self, Display, Write};

use chrono::{DateTime, Utc};

use super::{CreditNote, Invoice, InvoiceLine, InvoiceStatus, Movement, MovementKind, Quantity};
use crate::hold::Subject;
use crate::money::Nano;
use crate::price::Meter;

const STYLE: &str = include_str!("invoice.css");
/// Amounts have at least this many decimals.
const DECIMALS_MIN: usize = 2;

/// The page of an invoice.
pub(super) struct Page<'a>(pub(super) &'a Invoice);

impl Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let invoice = self.0;
        let (number, style) = (Text(&invoice.number), STYLE);
        let plain = Plain(&invoice.number);
        write!(
            f,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta name=\"referrer\" content=\"no-referrer\">\n\
             <title>Invoice {number}</title>\n<style>\n{style}\
             @page {{ @bottom-left {{ content: \"Invoice {plain}\"; }} }}\n\
             </style>\n</head>\n<body>\n<main>\n"
        )?;
        head(f, invoice)?;
        let money = Money::of(invoice);
        summary(f, invoice, &money)?;
        charges(f, invoice, &money)?;
        if !invoice.credit_notes.is_empty() {
            credit_notes(f, invoice, &money)?;
        }
        if !invoice.movements.is_empty() {
            movements(f, invoice, &money)?;
        }
        f.write_str(
            "<footer>\n<p>All amounts are credits and exact: nothing is rounded on this page. \
             Each call was rounded up once, to a billionth of a credit, and has a receipt of its \
             own; the total is the sum of these receipts. Days and months are UTC.</p>\n\
             </footer>\n</main>\n</body>\n</html>\n",
        )
    }
}

fn head(f: &mut fmt::Formatter<'_>, invoice: &Invoice) -> fmt::Result {
    f.write_str("<header>\n<div>\n<h1>Invoice</h1>\n")?;
    writeln!(f, "<p class=\"number\">{}</p>\n</div>", Text(&invoice.number))?;
    if !invoice.seller.is_empty() {
        f.write_str("<address>\n")?;
        for line in &invoice.seller {
            writeln!(f, "{}<br>", Text(line))?;
        }
        f.write_str("</address>\n")?;
    }
    f.write_str("</header>\n")?;
    let status = match invoice.status {
        InvoiceStatus::Running => Some("The month is not over: these figures will change."),
        InvoiceStatus::Ended => Some("The books of this month are not closed yet."),
        InvoiceStatus::Final => None,
    };
    if let Some(status) = status {
        writeln!(f, "<p class=\"notice\">{status}</p>")?;
    }
    let (period, from, to) =
        (invoice.period, invoice.period.first_day(), invoice.period.last_day());
    write!(
        f,
        "<dl>\n<div><dt>Billed to</dt><dd><strong>{}</strong><br>{}</dd></div>\n\
         <div><dt>Period</dt><dd><strong>{period}</strong><br>{from} to {to}</dd></div>\n\
         <div><dt>Composed</dt><dd><strong>{}</strong><br>{}</dd></div>\n</dl>\n",
        Text(&invoice.name),
        Text(invoice.org.as_str()),
        Time(invoice.made_at_ms),
        match invoice.status {
            InvoiceStatus::Final => "final",
            InvoiceStatus::Running | InvoiceStatus::Ended => "provisional",
        }
    )
}

fn summary(f: &mut fmt::Formatter<'_>, invoice: &Invoice, money: &Money) -> fmt::Result {
    write!(
        f,
        "<section class=\"summary\">\n\
         <div><span>Charged</span><b>{}</b></div>\n\
         <div><span>Credited</span><b>{}</b></div>\n\
         <div class=\"net\"><span>Net, in credits</span><b>{}</b></div>\n</section>\n",
        money.show(invoice.total),
        money.show(invoice.credited),
        money.show(invoice.net)
    )
}

fn charges(f: &mut fmt::Formatter<'_>, invoice: &Invoice, money: &Money) -> fmt::Result {
    f.write_str(
        "<section>\n<h2>Charges</h2>\n<table>\n<thead><tr><th>Model or function</th>\
         <th class=\"n\">Calls</th><th>Used</th><th class=\"n\">Cost</th></tr></thead>\n<tbody>\n",
    )?;
    if invoice.lines.is_empty() {
        f.write_str("<tr><td colspan=\"4\" class=\"none\">No calls were charged.</td></tr>\n")?;
    }
    for InvoiceLine { subject, calls, quantities, cost } in &invoice.lines {
        let (calls, cost) = (Count(*calls), money.show(*cost));
        write!(f, "<tr><td>{}</td><td class=\"n\">{calls}</td><td>", Name(subject))?;
        for quantity in quantities {
            write!(f, "<div>{}</div>", Used { quantity, subject })?;
        }
        writeln!(f, "</td><td class=\"n\">{cost}</td></tr>")?;
    }
    let (receipts, total) = (Count(invoice.receipts), money.show(invoice.total));
    writeln!(
        f,
        "</tbody>\n<tbody class=\"sum\"><tr><th>Total, by receipts</th><td class=\"n\">{receipts}\
         </td><td></td><td class=\"n\">{total}</td></tr></tbody>\n</table>\n</section>"
    )
}

fn credit_notes(f: &mut fmt::Formatter<'_>, invoice: &Invoice, money: &Money) -> fmt::Result {
    f.write_str(
        "<section>\n<h2>Credit notes</h2>\n<table>\n<thead><tr><th>Number</th><th>When</th>\
         <th>Call and reason</th><th class=\"n\">Amount</th></tr></thead>\n<tbody>\n",
    )?;
    for CreditNote { number, call, amount, reason, at_ms } in &invoice.credit_notes {
        let (number, reason, amount) = (Text(number), Text(reason), money.show(*amount));
        writeln!(
            f,
            "<tr><td class=\"id\">{number}</td><td>{}</td><td><code>{call}</code><div>{reason}</div></td>\
             <td class=\"n\">{amount}</td></tr>",
            Time(*at_ms)
        )?;
    }
    let total = money.show(invoice.credited);
    writeln!(
        f,
        "</tbody>\n<tbody class=\"sum\"><tr><th colspan=\"3\">Credited</th>\
         <td class=\"n\">{total}</td></tr></tbody>\n</table>\n</section>"
    )
}

fn movements(f: &mut fmt::Formatter<'_>, invoice: &Invoice, money: &Money) -> fmt::Result {
    f.write_str(
        "<section>\n<h2>Payments and grants</h2>\n<table>\n<thead><tr><th>What</th><th>When</th>\
         <th>Reference and note</th><th class=\"n\">Amount</th></tr></thead>\n<tbody>\n",
    )?;
    for Movement { kind, amount, rail, reference, note, at_ms, .. } in &invoice.movements {
        let kind = match kind {
            MovementKind::TopUp => "Top-up",
            MovementKind::Chargeback => "Chargeback",
            MovementKind::Grant => "Grant",
            MovementKind::FreeTier => "Free credits",
            MovementKind::Expiry => "Expired",
            MovementKind::Adjustment => "Adjustment",
        };
        write!(f, "<tr><td>{kind}</td><td>{}</td><td class=\"parts\">", Time(*at_ms))?;
        for text in [rail.as_deref(), reference.as_deref(), Some(note.as_str())] {
            match text {
                None | Some("") => {}
                Some(text) => write!(f, "<div>{}</div>", Text(text))?,
            }
        }
        writeln!(f, "</td><td class=\"n\">{}</td></tr>", money.show(*amount))?;
    }
    let paid = money.show(invoice.paid);
    writeln!(
        f,
        "</tbody>\n<tbody class=\"sum\"><tr><th colspan=\"3\">Paid (top-ups less chargebacks)\
         </th><td class=\"n\">{paid}</td></tr></tbody>\n</table>\n</section>"
    )
}

/// Amounts with as many decimals as the one that needs most, so that columns line up.
struct Money {
    decimals: usize,
}

impl Money {
    fn of(invoice: &Invoice) -> Money {
        let sums = [invoice.total, invoice.credited, invoice.net, invoice.paid];
        let all = sums
            .into_iter()
            .chain(invoice.lines.iter().map(|line| line.cost))
            .chain(invoice.credit_notes.iter().map(|note| note.amount))
            .chain(invoice.movements.iter().map(|moved| moved.amount));
        let decimals = all.map(|amount| {
            let text = amount.to_string();
            text.split_once('.').map_or(0, |(_, fraction)| fraction.len())
        });
        Money { decimals: decimals.max().unwrap_or(0).max(DECIMALS_MIN) }
    }

    fn show(&self, amount: Nano) -> String {
        let text = amount.to_string();
        let (sign, digits) = match text.strip_prefix('-') {
            Some(digits) => ("\u{2212}", digits),
            None => ("", text.as_str()),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        format!("{sign}{}.{fraction:0<width$}", grouped(whole), width = self.decimals)
    }
}

/// A number with its thousands apart.
struct Count(u64);

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&grouped(&self.0.to_string()))
    }
}

fn grouped(digits: &str) -> String {
    let mut text = String::with_capacity(digits.len().saturating_mul(2));
    for (index, digit) in digits.chars().enumerate() {
        let left = digits.len().saturating_sub(index);
        if index > 0 && left.checked_rem(3) == Some(0) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A time to the minute.
struct Time(u64);

impl Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at_ms = i64::try_from(self.0).unwrap_or(i64::MAX);
        match DateTime::<Utc>::from_timestamp_millis(at_ms) {
            Some(time) => write!(f, "{}", time.format("%Y-%m-%d %H:%M")),
            None => f.write_str("?"),
        }
    }
}

/// The name of what was called.
struct Name<'a>(&'a Subject);

impl Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Subject::Model(model) => write!(f, "{}", Text(model)),
            Subject::Function { owner, name, version } => {
                write!(f, "{}/{} <small>version {version}</small>", Text(owner), Text(name))
            }
        }
    }
}

/// How much was used, with the model where the line does not name it already.
struct Used<'a> {
    quantity: &'a Quantity,
    subject: &'a Subject,
}

impl Display for Used<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Quantity { model, meter, quantity } = self.quantity;
        let unit = match meter {
            Meter::InputTokens => "input tokens",
            Meter::CachedInputTokens => "cached input tokens",
            Meter::OutputTokens => "output tokens",
            Meter::Calls => "calls",
            Meter::ComputeMicros => "\u{b5}s of compute",
            Meter::Fuel => "units of fuel",
            Meter::EgressBytes => "bytes sent",
        };
        write!(f, "{} {unit}", Count(*quantity))?;
        match (model, self.subject) {
            (Some(model), Subject::Model(name)) if model == name => Ok(()),
            (Some(model), _) => write!(f, ", {}", Text(model)),
            (None, _) => Ok(()),
        }
    }
}

/// A number of an invoice, safe in a text of a style sheet.
struct Plain<'a>(&'a str);

impl Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        self.0.chars().map(|c| if is_plain(&c) { c } else { '?' }).try_for_each(|c| f.write_char(c))
    }
}

/// Text that a person wrote, safe in HTML: markup is escaped, and what is invisible or turns the
/// direction of writing is shown as a replacement character.
struct Text<'a>(&'a str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' | '\r' | '\t' => f.write_char(' ')?,
                '\u{200b}'..='\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}' => f.write_char(char::REPLACEMENT_CHARACTER)?,
                c if c.is_control() => f.write_char(char::REPLACEMENT_CHARACTER)?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}
