//! The scene in which credits run out: a second organisation that can afford one call.

use http::Method;

use super::guests::HELLO;
use super::scenes::claimed;
use super::stage::posted;
use super::{Outcome, Play, difference, expect};
use crate::cli::CliError;
use crate::cli::format::credits;
use crate::client::{Call, Client};
use crate::manifest::Manifest;

/// The second organisation's name.
pub(super) const GUEST: &str = "guest";

/// Gives a second organisation the most that one call may cost. The first call holds it all and
/// pays a part; then the rest is below the most that a call may cost, and the second is refused.
pub(super) fn play(play: &mut Play<'_>) -> Result<Outcome, CliError> {
    let most = Manifest::parse(HELLO.manifest)?.max_cost_per_call;
    let guest = play.stage.found_organisation(GUEST, most)?;
    let path = format!("/f/{}/hello/", play.stage.org);
    play.screen.command(&format!(
        "curl -i \"$EMBERBOX_URL{path}\" -H \"Authorization: Bearer $KEY_OF_GUEST\""
    ))?;
    play.screen.fact(
        "guest",
        &format!(
            "has {} credits; a call of hello may cost {} at most",
            credits(most),
            credits(most)
        ),
    )?;
    let before = posted(&guest)?;
    let said = first_call(play, &guest, &path)?;
    let after = posted(&guest)?;
    let paid = difference(before, after)?;
    expect(said.is_none_or(|said| said == paid), || {
        format!("the call said another cost than the {paid} credits that the guest lost")
    })?;
    expect(after < most, || "the first call was free, so the second cannot fail".to_owned())?;
    second_call(play, &guest, &path)?;
    expect(posted(&guest)? == after, || "the refused call was charged".to_owned())?;
    play.screen.fact("guest", &format!("has {} left: the refusal cost nothing", credits(after)))?;
    play.guest = Some(guest);
    Ok(Outcome { claimed: None, paid_by_others: paid })
}

fn first_call(
    play: &Play<'_>,
    guest: &Client,
    path: &str,
) -> Result<Option<emberbox_billing::Nano>, CliError> {
    let answer = guest.send(Call::new(Method::GET, path))?;
    let (status, said) = (answer.status, claimed(&answer)?);
    let text = answer.into_text()?;
    play.screen.fact("call 1", &format!("{status}  {}", text.trim_end()))?;
    Ok(said)
}

fn second_call(play: &Play<'_>, guest: &Client, path: &str) -> Result<(), CliError> {
    let answer = guest.send_any(Call::new(Method::GET, path))?;
    let status = answer.status;
    let refusal = answer.into_refusal();
    let code = refusal.code.as_deref().unwrap_or("no code");
    play.screen.fact("call 2", &format!("{status}  {code}: {}", refusal.message))?;
    expect(status.as_u16() == 402 && code == "insufficient_credits", || {
        format!("a call without credits must be a 402 insufficient_credits, not {refusal}")
    })
}
