//! Where messages may go. An organisation names its endpoint itself, and the server sends from
//! inside the operator's network: addresses that are not the public internet's are refused.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

use crate::BillingError;

/// The most bytes of an endpoint's address.
pub const ENDPOINT_URL_BYTES_MAX: usize = 2048;

/// Names that never mean a host on the public internet (RFC 6761, 6762, 8375, 9476).
const PRIVATE_SUFFIXES: [&str; 10] = [
    "localhost",
    "local",
    "localdomain",
    "internal",
    "intranet",
    "lan",
    "home.arpa",
    "test",
    "invalid",
    "alt",
];

/// Ranges of IPv4 that are not the public internet (IANA's special-purpose registry), with the
/// length of the prefix.
const PRIVATE_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),       // this host
    (Ipv4Addr::new(10, 0, 0, 0), 8),      // private
    (Ipv4Addr::new(100, 64, 0, 0), 10),   // shared by a carrier's customers
    (Ipv4Addr::new(127, 0, 0, 0), 8),     // loopback
    (Ipv4Addr::new(169, 254, 0, 0), 16),  // link-local, and the clouds' metadata
    (Ipv4Addr::new(172, 16, 0, 0), 12),   // private
    (Ipv4Addr::new(192, 0, 0, 0), 24),    // protocol assignments
    (Ipv4Addr::new(192, 0, 2, 0), 24),    // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24),  // 6to4 relays
    (Ipv4Addr::new(192, 168, 0, 0), 16),  // private
    (Ipv4Addr::new(198, 18, 0, 0), 15),   // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24),  // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4),     // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4),     // reserved, and broadcast
];

/// The only range of IPv6 that is the public internet's: what is outside it (loopback, mapped and
/// translated IPv4, unique local, link-local, multicast) is not.
const PUBLIC_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// Ranges in it that are not.
const PRIVATE_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23), // protocol assignments, Teredo
    (Ipv6Addr::new(0x2001, 0x0db8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16), // 6to4: any IPv4 address within
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20), // documentation
];

/// Whether an address is the public internet's. Whoever sends must ask this of each address that
/// a name resolves to, and connect to the very address that was asked about.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !PRIVATE_V4.iter().any(|(net, length)| {
            within(u128::from(address.to_bits()), u128::from(net.to_bits()), (32, *length))
        }),
        IpAddr::V6(address) => {
            let is_in = |(net, length): &(Ipv6Addr, u32)| {
                within(address.to_bits(), net.to_bits(), (128, *length))
            };
            is_in(&PUBLIC_V6) && !PRIVATE_V6.iter().any(is_in)
        }
    }
}

fn within(address: u128, net: u128, (bits, length): (u32, u32)) -> bool {
    let host_bits = bits.saturating_sub(length);
    address.checked_shr(host_bits) == net.checked_shr(host_bits)
}

/// Reads an endpoint's address and refuses what messages must not be sent to. `allow_private` is
/// the operator's choice for tests and closed networks: it allows `http://` and any host.
///
/// A name is not resolved here: see [`is_public`].
///
/// # Errors
/// [`BillingError::Invalid`] with the reason.
pub fn check_url(text: &str, allow_private: bool) -> Result<Url, BillingError> {
    let refused = |reason: &str| Err(BillingError::Invalid(format!("endpoint: {reason}")));
    if text.len() > ENDPOINT_URL_BYTES_MAX {
        return refused("the address is longer than 2048 bytes");
    }
    // The parser would drop or change them silently.
    if text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '\\') {
        return refused("the address has spaces, control characters or backslashes");
    }
    let Ok(url) = Url::parse(text) else {
        return refused("it is not an address like https://example.com/hook");
    };
    match url.scheme() {
        "https" => {}
        "http" if allow_private => {}
        "http" => return refused("the address must begin with https://"),
        _ => return refused("it is not an address like https://example.com/hook"),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refused("the address must not carry a user name or password");
    }
    if url.fragment().is_some() {
        return refused("the address must not have a fragment (#…)");
    }
    if url.port() == Some(0) {
        return refused("port 0 is no port");
    }
    let public = match url.host() {
        None => return refused("the address names no host"),
        Some(Host::Ipv4(address)) => is_public(address.into()),
        Some(Host::Ipv6(address)) => is_public(address.into()),
        Some(Host::Domain(name)) => is_public_name(name),
    };
    if !public && !allow_private {
        return refused("the host is not on the public internet");
    }
    Ok(url)
}

/// Whether a name could be that of a public host: it has a dot, and is in no private domain.
fn is_public_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name.contains('.')
        && !PRIVATE_SUFFIXES.iter().any(|suffix| {
            name.strip_suffix(suffix).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
}
