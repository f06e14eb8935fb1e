//! Which hosts a rule is about: `https://api.example.com`, `*.example.com:8443`, or `*` for all.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use http::Uri;

const HOST_BYTES_MAX: usize = 253;
/// Rules of one list.
const RULES_MAX: usize = 256;

/// One place that a request can go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) tls: bool,
    /// In small letters; addresses of version 6 without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Place {
    /// Where an absolute address leads, or why nowhere.
    pub(crate) fn of(uri: &Uri) -> Result<Self, String> {
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("its address begins with neither https:// nor http://".to_owned()),
        };
        let authority = uri.authority().ok_or("its address names no host")?;
        if authority.as_str().contains('@') {
            return Err("its address carries a user name".to_owned());
        }
        let host = normal(authority.host()).ok_or("its address names no host")?;
        let port = authority.port_u16().unwrap_or_else(|| usual_port(tls));
        Ok(Self { tls, host, port })
    }

    /// As the header `Host` has it.
    pub(crate) fn authority(&self) -> String {
        let host = bracketed(&self.host);
        match self.port == usual_port(self.tls) {
            true => host,
            false => format!("{host}:{}", self.port),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", scheme(self.tls), self.authority())
    }
}

/// What a request may go to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Everything there is.
    Everything,
    /// One place.
    Only(Place),
    /// All names below one, with this scheme and port.
    Below(Place),
}

impl Rule {
    fn allows(&self, place: &Place) -> bool {
        match self {
            Self::Everything => true,
            Self::Only(only) => only == place,
            Self::Below(above) => same_door(above, place) && is_below(&above.host, &place.host),
        }
    }

    /// Whether all that the other allows is allowed here.
    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Everything, _) => true,
            (_, Self::Everything) => false,
            (rule, Self::Only(place)) => rule.allows(place),
            (Self::Only(_), Self::Below(_)) => false,
            (Self::Below(above), Self::Below(below)) => {
                same_door(above, below)
                    && (above.host == below.host || is_below(&above.host, &below.host))
            }
        }
    }
}

fn same_door(one: &Place, other: &Place) -> bool {
    (one.tls, one.port) == (other.tls, other.port)
}

fn is_below(above: &str, host: &str) -> bool {
    host.strip_suffix(above).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

fn scheme(tls: bool) -> &'static str {
    if tls { "https" } else { "http" }
}

fn usual_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// A host in the one form in which hosts are compared; `None` where it is none.
fn normal(host: &str) -> Option<String> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    if let Ok(address) = bare.unwrap_or(host).parse::<IpAddr>() {
        return Some(address.to_string());
    }
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(plain)
    };
    (host.len() <= HOST_BYTES_MAX && host.split('.').all(label)).then_some(host)
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Everything);
        }
        let wrong = || {
            format!(
                "\"{text}\" is no host: it looks like \"api.example.com\", \"*.example.com\" or \
                 \"http://api.example.com:8080\""
            )
        };
        let (tls, rest) = match text.split_once("://") {
            None => (true, text),
            Some(("https", rest)) => (true, rest),
            Some(("http", rest)) => (false, rest),
            Some(_) => return Err(wrong()),
        };
        let (below, rest) = match rest.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        // A colon after the brackets of a version 6 address, or the only one.
        let split = rest.rfind(':').filter(|at| !rest[*at..].contains(']'));
        let (host, port) = match split {
            Some(at) => (&rest[..at], rest[at + 1..].parse().or(Err(wrong()))?),
            None => (rest, usual_port(tls)),
        };
        let host = normal(host).filter(|_| port != 0).ok_or_else(wrong)?;
        let place = Place { tls, host, port };
        Ok(if below { Self::Below(place) } else { Self::Only(place) })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Everything => f.write_str("*"),
            Self::Only(place) => place.fmt(f),
            Self::Below(place) => write!(f, "{}://*.{}", scheme(place.tls), place.authority()),
        }
    }
}

/// A list of rules: what any of them allows is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Reads each text as a rule.
    pub(crate) fn read<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<Self, String> {
        let rules: Vec<Rule> =
            texts.into_iter().take(RULES_MAX + 1).map(str::parse).collect::<Result<_, _>>()?;
        match rules.len() > RULES_MAX {
            true => Err(format!("there are more than {RULES_MAX} hosts")),
            false => Ok(Self(rules)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }

    pub(crate) fn allow(&self, place: &Place) -> bool {
        self.0.iter().any(|rule| rule.allows(place))
    }

    pub(crate) fn cover(&self, other: &Rule) -> bool {
        self.0.iter().any(|rule| rule.covers(other))
    }

    pub(crate) fn only(&self, keep: impl Fn(&Rule) -> bool) -> Self {
        Self(self.0.iter().filter(|rule| keep(rule)).cloned().collect())
    }

    pub(crate) fn texts(&self) -> Vec<String> {
        self.0.iter().map(Rule::to_string).collect()
    }
}

impl FromStr for Rules {
    type Err = String;

    /// Reads hosts with commas between them, or a list as TOML writes it.
    fn from_str(text: &str) -> Result<Self, String> {
        let list = text.trim().strip_prefix("[\"").and_then(|text| text.strip_suffix("\"]"));
        let between = |c: char| c.is_whitespace() || matches!(c, ',' | '"');
        let words = list.unwrap_or(text).split(between).filter(|word| !word.is_empty());
        match text.trim() {
            "[]" => Ok(Self::default()),
            _ => Self::read(words),
        }
    }
}

impl fmt::Display for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Rules {
        text.parse().unwrap()
    }

    #[test]
    fn requests_go_where_a_rule_says() {
        let some = rules("api.example.com, *.cdn.example:8443, http://10.0.0.5:9000, [::1]:7000");
        for (uri, allowed) in [
            ("https://api.example.com/a?b", true),
            ("https://API.Example.com./", true),
            ("https://api.example.com:443/", true),
            ("https://api.example.com:444/", false),
            ("http://api.example.com/", false),
            ("https://example.com/", false),
            ("https://evil-api.example.com/", false),
            ("https://api.example.com.evil.org/", false),
            ("https://a.cdn.example:8443/", true),
            ("https://a.b.cdn.example:8443/", true),
            ("https://cdn.example:8443/", false),
            ("https://acdn.example:8443/", false),
            ("https://.cdn.example:8443/", false),
            ("http://10.0.0.5:9000/", true),
            ("http://10.0.0.5/", false),
            ("https://[::1]:7000/", true),
            ("https://[0:0::1]:7000/", true),
            ("https://[::2]:7000/", false),
        ] {
            let place = Place::of(&uri.parse().unwrap());
            assert_eq!(place.is_ok_and(|place| some.allow(&place)), allowed, "{uri}");
        }
        let place = Place::of(&"https://anything.at/all".parse().unwrap()).unwrap();
        assert!(rules("*").allow(&place) && !rules("").allow(&place));
        for uri in ["ftp://api.example.com/", "/path", "https://me@api.example.com/"] {
            assert!(Place::of(&uri.parse().unwrap()).is_err(), "{uri}");
        }
    }

    #[test]
    fn a_rule_is_covered_by_what_allows_as_much() {
        for (above, below, covered) in [
            ("*", "a.example", true),
            ("*", "*.example", true),
            ("*", "*", true),
            ("a.example", "*", false),
            ("a.example", "a.example", true),
            ("a.example", "http://a.example", false),
            ("*.example", "a.example", true),
            ("*.example", "*.example", true),
            ("*.example", "*.a.example", true),
            ("*.a.example", "*.example", false),
            ("a.example", "*.a.example", false),
            ("*.example", "a.example:8443", false),
        ] {
            let found = rules(above).cover(&below.parse().unwrap());
            assert_eq!(found, covered, "{above} over {below}");
        }
    }

    #[test]
    fn lists_are_written_in_two_ways() {
        let two = rules("a.example, [::1]:7000");
        assert_eq!(rules(r#"["a.example", "[::1]:7000"]"#), two);
        assert_eq!((rules("[]"), rules(" ")), (Rules::default(), Rules::default()));
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "https://",
            "a b",
            "a/b",
            "https://a/path",
            "a:0",
            "a:70000",
            "a:b",
            "ftp://a",
            "a..b",
            "*",
            "*.",
            "a.*",
            "**.a",
            "user@a",
            "ä.example",
        ] {
            assert_eq!(text.parse::<Rule>().is_ok(), text == "*", "{text}");
        }
        assert!(Rules::read(std::iter::repeat_n("a.example", RULES_MAX + 1)).is_err());
    }

    #[test]
    fn rules_are_written_as_they_are_read() {
        for text in ["*", "https://a.example", "http://*.a.example:81", "https://[::1]:7000"] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        assert_eq!("a.example".parse::<Rule>().unwrap().to_string(), "https://a.example");
    }
}
