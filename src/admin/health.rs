//! The other end of `/readyz`: what `nearpoint healthcheck` asks. A door.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::listen::Address;

/// What a running process says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// It wants requests.
    pub ready: bool,
    /// Its conditions, one a line.
    pub report: String,
}

/// Why nothing could be learnt.
#[derive(Debug, thiserror::Error)]
#[error("{address} does not answer: {cause}")]
pub struct NoAnswer {
    /// Where.
    pub address: Address,
    /// reqwest's words.
    pub cause: reqwest::Error,
}

/// Asks the process behind an admin address. `0.0.0.0` and `[::]` are asked at loopback. Needs
/// no token: health is open. Proxies of the environment are not used.
///
/// # Errors
/// [`NoAnswer`] where nobody answers within `limit`.
pub async fn healthcheck(address: &Address, limit: Duration) -> Result<Health, NoAnswer> {
    let fault = |cause| NoAnswer { address: address.clone(), cause };
    let builder = reqwest::Client::builder().no_proxy().timeout(limit);
    let (builder, authority) = match address {
        Address::Tcp(address) => (builder, reachable(*address).to_string()),
        Address::Unix(path) => (builder.unix_socket(path.as_path()), "localhost".to_owned()),
    };
    let client = builder.build().map_err(fault)?;
    let reply = client.get(format!("http://{authority}/readyz?verbose")).send().await.map_err(fault)?;
    let ready = reply.status().is_success();
    Ok(Health { ready, report: reply.text().await.map_err(fault)? })
}

fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_all_interfaces_is_asked_at_loopback() {
        for (bound, asked) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1")]
        {
            assert_eq!(reachable(bound.parse().unwrap()).to_string(), asked);
        }
    }
}
