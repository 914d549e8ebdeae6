//! The other end of `/livez` and `/readyz`: what `nearpoint healthcheck` asks. A door.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::plane::{ALIVE, LIVE};
use crate::listen::Address;

/// What a running process says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// It wants requests.
    pub ready: bool,
    /// Its conditions, one a line.
    pub report: String,
}

/// Why nobody is well.
#[derive(Debug, thiserror::Error)]
pub enum Unwell {
    /// Nobody answers in time.
    #[error("{address} does not answer: {cause}")]
    Silent {
        /// Where.
        address: Address,
        /// reqwest's words.
        cause: reqwest::Error,
    },
    /// Somebody answers, but not as a process of ours that lives.
    #[error("{address} answers {status} to /livez, and not as nearpoint does: is this the admin listener?")]
    Stranger {
        /// Where.
        address: Address,
        /// The HTTP status.
        status: u16,
    },
}

/// Asks the process behind an admin address whether it lives, and whether it is ready; each answer
/// may take `limit`. `0.0.0.0` and `[::]` are asked at loopback. Needs no token: health is open.
/// Proxies of the environment are not used.
///
/// # Errors
/// [`Unwell`] where nobody lives there.
pub async fn healthcheck(address: &Address, limit: Duration) -> Result<Health, Unwell> {
    let silent = |cause| Unwell::Silent { address: address.clone(), cause };
    let builder = reqwest::Client::builder().no_proxy().timeout(limit);
    let (builder, authority) = match address {
        Address::Tcp(address) => (builder, reachable(*address).to_string()),
        Address::Unix(path) => (builder.unix_socket(path.as_path()), "localhost".to_owned()),
    };
    let client = builder.build().map_err(silent)?;
    let ask = async |path: &str| {
        let reply = client.get(format!("http://{authority}{path}")).send().await?;
        Ok::<_, reqwest::Error>((reply.status().as_u16(), read(reply).await?))
    };
    let (status, text) = ask(LIVE).await.map_err(silent)?;
    if status != 200 || text != ALIVE {
        return Err(Unwell::Stranger { address: address.clone(), status });
    }
    let (status, report) = ask(READY_VERBOSE).await.map_err(silent)?;
    Ok(Health { ready: status == 200, report })
}

const READY_VERBOSE: &str = "/readyz?verbose";
/// Bytes of an answer that are read; ours take some hundred.
const ANSWER_MAX: usize = 16 << 10;

async fn read(mut reply: reqwest::Response) -> Result<String, reqwest::Error> {
    let mut text = Vec::new();
    while let Some(piece) = reply.chunk().await? {
        text.extend_from_slice(&piece);
        if text.len() > ANSWER_MAX {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
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
