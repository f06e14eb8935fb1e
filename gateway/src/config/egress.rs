//! Where functions may send requests.

use super::Rules;
use super::reader::Reader;

/// The most that functions are granted; nothing by default. Written `api.example.com,
/// *.example.com:8443`, or `*` for every host on the public internet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    /// Hosts that a manifest may name.
    pub hosts: Rules,
    /// Of them those whose addresses need not be on the public internet.
    pub private_hosts: Rules,
}

impl Egress {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let mut egress = Self::default();
        reader.read("egress.hosts", &mut egress.hosts);
        reader.read("egress.private_hosts", &mut egress.private_hosts);
        egress
    }
}
