use super::Output;

/// Feeds tokens, written as their bytes; `|` separates what was shown after each token, and `!`
/// marks a stop.
fn check(stops: &[&str], tokens: &[&[u8]], expect: &str) {
    let mut output = Output::new(stops.iter().map(|stop| (*stop).to_owned()).collect());
    let mut shown = Vec::new();
    let mut seen = Vec::new();
    for (token, bytes) in (0..).zip(tokens) {
        let (piece, stopped) = output.push(token, bytes, None);
        let mut text = String::new();
        if let Some(piece) = piece {
            seen.extend(piece.tokens);
            text = piece.text;
        }
        if stopped {
            text.push('!');
        }
        shown.push(text);
        if stopped {
            break;
        }
    }
    if let Some(piece) = output.finish() {
        seen.extend(piece.tokens);
        shown.push(format!("+{}", piece.text));
    }
    assert_eq!(shown.join("|"), expect, "{stops:?} {tokens:?}");
    let fed = shown.iter().filter(|s| !s.starts_with('+')).count() as u32;
    assert_eq!(seen, (0..fed).collect::<Vec<_>>(), "every token once: {expect}");
}

#[test]
fn characters_wait_until_they_are_whole() {
    check(&[], &[b"a", b"b"], "a|b");
    check(&[], &[&[0xF0, 0x9F], &[0xA6], &[0x8A], b"!"], "||🦊|!");
}

#[test]
fn bytes_that_are_no_character_are_replaced() {
    check(&[], &[&[0xFF], b"a"], "\u{FFFD}|a");
    check(&[], &[&[0xC3], b"a"], "|\u{FFFD}a");
    check(&[], &[b"a", &[0xE2, 0x82]], "a||+\u{FFFD}");
}

#[test]
fn text_waits_while_it_could_become_a_stop_string() {
    check(&["END"], &[b"x E", b"N", b"D y"], "x ||!");
    check(&["END"], &[b"x E", b"N", b"x"], "x ||ENx");
    check(&["END"], &[b"E", b"E", b"ND"], "|E|!");
    check(&["END"], &[b"a", b"EN"], "a||+EN");
    check(&["b", "abc"], &[b"a", b"b"], "|a!");
    check(&["abc", "bx"], &[b"ab", b"x"], "|a!");
    check(&["\n\n"], &[b"a\n", b"b\n", b"\nc"], "a|\nb|!");
    check(&["é"], &[&[0xC3], &[0xA9]], "|!");
}

#[test]
fn an_empty_token_is_shown_as_such() {
    check(&[], &[b"", b"a"], "|a");
}
