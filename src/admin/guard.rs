//! Who may ask the admin listener. Pure.
//!
//! The listener trusts the machine it is on, which a browser on that machine must not be able
//! to borrow: a page of a stranger's carries an `Origin`, and a rebound name a foreign `Host`.

use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
use subtle::ConstantTimeEq;

use crate::listen::Address;
use crate::names::{ExposeSecret, Secret};

/// What is asked of callers.
#[derive(Clone, Debug)]
pub(super) struct Guard {
    token: Option<Secret>,
    loopback: bool,
}

impl Guard {
    pub(super) fn new(address: &Address, token: Option<Secret>) -> Self {
        let loopback = matches!(address, Address::Tcp(address) if address.ip().is_loopback());
        Self { token, loopback }
    }

    /// `Err` with what the caller is told. `open`: the path needs no token.
    pub(super) fn judge(&self, headers: &HeaderMap, open: bool) -> Result<(), StatusCode> {
        if headers.contains_key(header::ORIGIN) || (self.loopback && !names_this_machine(headers)) {
            return Err(StatusCode::FORBIDDEN);
        }
        match &self.token {
            Some(token) if !open && !presents(headers, token) => Err(StatusCode::UNAUTHORIZED),
            _ => Ok(()),
        }
    }
}

fn names_this_machine(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(authority) = Authority::try_from(host.as_bytes()) else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn presents(headers: &HeaderMap, token: &Secret) -> bool {
    headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().split_at_checked(BEARER.len()))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(BEARER))
        .is_some_and(|(_, given)| given.ct_eq(token.expose_secret().as_bytes()).into())
}

const BEARER: &[u8] = b"Bearer ";

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn judge(address: &str, token: Option<&str>, open: bool, headers: &[(&'static str, &str)]) -> u16 {
        let guard = Guard::new(&address.parse().unwrap(), token.map(Secret::from));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_str(value).unwrap());
        }
        guard.judge(&map, open).map_or_else(|status| status.as_u16(), |()| 200)
    }

    #[test]
    fn foreign_hosts_are_refused_on_loopback() {
        for (host, status) in [
            ("127.0.0.1:9901", 200),
            ("127.0.0.2", 200),
            ("localhost:9901", 200),
            ("LocalHost", 200),
            ("[::1]:9901", 200),
            ("evil.example", 403),
            ("localhost.evil.example", 403),
            ("127.0.0.1.evil.example:9901", 403),
            ("10.0.0.1:9901", 403),
            ("", 403),
        ] {
            assert_eq!(judge("127.0.0.1:9901", None, true, &[("host", host)]), status, "{host}");
        }
        assert_eq!(judge("127.0.0.1:9901", None, true, &[]), 403, "no host at all");
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert_eq!(judge("127.0.0.1:9901", None, true, &twice), 403);
        assert_eq!(judge("10.0.0.1:9901", None, true, &[("host", "nearpoint.svc")]), 200);
        assert_eq!(judge("unix:/run/admin.sock", None, true, &[("host", "anything")]), 200);
    }

    #[test]
    fn browsers_are_refused_everywhere() {
        for address in ["127.0.0.1:9901", "10.0.0.1:9901", "unix:/run/admin.sock"] {
            let headers = [("host", "localhost"), ("origin", "http://localhost")];
            assert_eq!(judge(address, None, true, &headers), 403, "{address}");
        }
    }

    #[test]
    fn the_token_is_asked_for_but_for_health() {
        let host = ("host", "localhost");
        let judged = |open, value: &str| {
            judge("127.0.0.1:1", Some("letmein"), open, &[host, ("authorization", value)])
        };
        assert_eq!(judged(false, "Bearer letmein"), 200);
        assert_eq!(judged(false, "bearer letmein"), 200);
        for value in ["Bearer letmeim", "Bearer letmein2", "Bearer ", "Bearer", "Basic letmein", "letmein"] {
            assert_eq!(judged(false, value), 401, "{value}");
        }
        assert_eq!(judge("127.0.0.1:1", Some("letmein"), false, &[host]), 401);
        assert_eq!(judge("127.0.0.1:1", Some("letmein"), true, &[host]), 200);
    }
}
