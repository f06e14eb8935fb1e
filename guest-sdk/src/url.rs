//! Percent-decoding of paths and queries (RFC 3986; queries also as HTML forms send them).

/// Decodes `%XX`; with `form`, also `+` to a space. A malformed escape is kept as it is written,
/// and bytes that are not UTF-8 become U+FFFD: a caller's odd URL is not a reason to fail.
pub(crate) fn decode(text: &str, form: bool) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'+' if form => out.push(b' '),
            b'%' => match escape(tail) {
                Some(decoded) => {
                    out.push(decoded);
                    rest = &tail[2..];
                }
                None => out.push(b'%'),
            },
            _ => out.push(byte),
        }
    }
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// The byte that the first two characters name in hexadecimal.
fn escape(text: &[u8]) -> Option<u8> {
    let [high, low, ..] = text else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(*high)? << 4 | digit(*low)?).ok()
}

/// The decoded pairs of a query, in their order. A name without `=` has an empty value.
pub(crate) fn pairs(query: &str) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        (decode(name, true), decode(value, true))
    };
    query.split('&').filter(|part| !part.is_empty()).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_paths_and_forms() {
        for (text, form, expect) in [
            ("plain", false, "plain"),
            ("a+fox", false, "a+fox"),
            ("a+fox", true, "a fox"),
            ("a%20fox", false, "a fox"),
            ("gr%C3%BCn", false, "grün"),
            ("100%", false, "100%"),
            ("%zz%4", false, "%zz%4"),
            ("%2B", true, "+"),
            ("%ff", false, "\u{fffd}"),
            ("%+1", false, "%+1"),
        ] {
            assert_eq!(decode(text, form), expect, "{text}");
        }
    }

    #[test]
    fn splits_queries() {
        let check = |query: &str, expect: &[(&str, &str)]| {
            let pairs = pairs(query);
            let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(pairs, expect, "{query}");
        };
        check("", &[]);
        check("a=1&b=2", &[("a", "1"), ("b", "2")]);
        check("flag&&x=", &[("flag", ""), ("x", "")]);
        check("eq=a=b&n%26m=%3D", &[("eq", "a=b"), ("n&m", "=")]);
    }
}
