//! Whom to talk to, and over what.

use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

/// The address of a server.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Tcp(SocketAddr),
    Tls(SocketAddr),
    Udp(SocketAddr),
    Unix(String),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, rest) = text.split_once(':').ok_or_else(|| format!("{text}: expected KIND:ADDRESS"))?;
        if kind == "unix" {
            return Ok(Self::Unix(rest.to_owned()));
        }
        let address = rest.to_socket_addrs().map_err(|error| format!("{rest}: {error}"))?.next();
        let address = address.ok_or_else(|| format!("{rest}: no address"))?;
        match kind {
            "tcp" => Ok(Self::Tcp(address)),
            "tls" => Ok(Self::Tls(address)),
            "udp" => Ok(Self::Udp(address)),
            _ => Err(format!("{kind}: expected tcp, tls, udp or unix")),
        }
    }
}
