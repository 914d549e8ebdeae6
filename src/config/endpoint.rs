//! Endpoints of regions, and what a host of Amazon's says by itself.

use std::net::Ipv6Addr;

use crate::view::Endpoint;

/// What an endpoint looks like, for faults.
pub(super) const EXPECTED: &str = "https://host[:port][/base] without query, user or fragment";

/// Reads `http(s)://host[:port][/base]`.
pub(super) fn parse(text: &str) -> Option<Endpoint> {
    let (scheme, rest) = text.split_once("://")?;
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => return None,
    };
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let (host, port) = host_and_port(authority, tls)?;
    let base_path = path.trim_end_matches('/');
    is_base_path(base_path).then(|| Endpoint { tls, host, port, base_path: base_path.to_owned() })
}

fn host_and_port(authority: &str, tls: bool) -> Option<(String, u16)> {
    let (host, port) = if let Some(rest) = authority.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        (address.to_string(), rest)
    } else {
        let (host, rest) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        is_host(host).then(|| (host.to_ascii_lowercase(), rest))?
    };
    let port = match port.strip_prefix(':') {
        Some(digits) => digits.parse().ok().filter(|port| *port != 0)?,
        None if port.is_empty() => Endpoint::default_port(tls),
        None => return None,
    };
    Some((host, port))
}

/// Whether a text is a DNS name or an IPv4 address.
pub(super) fn is_host(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    host.len() <= 253 && host.split('.').all(label)
}

/// Segments of unreserved characters, none empty, none of dots alone.
fn is_base_path(path: &str) -> bool {
    let segment = |segment: &str| {
        !segment.is_empty()
            && segment != "."
            && segment != ".."
            && segment.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
    };
    path.is_empty() || path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(segment))
}

/// Whether the host is Amazon's.
pub(super) fn is_amazon(host: &str) -> bool {
    beneath_amazon(host).is_some()
}

fn beneath_amazon(host: &str) -> Option<&str> {
    host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))
}

/// Whether the host is that of multi-region access points, whose aliases stand before it.
pub(super) fn is_of_access_points(host: &str) -> bool {
    beneath_amazon(host).is_some_and(|rest| rest == ACCESS_POINTS)
}

/// The alias that stands in a host of multi-region access points already.
pub(super) fn alias_in(host: &str) -> Option<&str> {
    beneath_amazon(host)?.strip_suffix(ACCESS_POINTS)?.strip_suffix('.')
}

const ACCESS_POINTS: &str = "accesspoint.s3-global";

/// The signing region that one of Amazon's hosts names: `s3.REGION`, `s3.dualstack.REGION`,
/// `s3-fips.REGION`, `s3-REGION`, `NAME.vpce-ID.s3.REGION.vpce`; `s3` alone is `us-east-1`, and
/// multi-region access points have all.
pub(super) fn signing_region(host: &str) -> Option<String> {
    let rest = beneath_amazon(host)?;
    if rest == "s3" || rest == "s3-external-1" {
        return Some("us-east-1".to_owned());
    }
    if is_of_access_points(host) {
        return Some("*".to_owned());
    }
    let mut labels = rest.split('.').skip_while(|label| *label != "s3" && !label.starts_with("s3-"));
    let service = labels.next()?;
    if let Some(region) = service.strip_prefix("s3-").filter(|region| is_region(region)) {
        return Some(region.to_owned());
    }
    labels.find(|label| *label != "dualstack").filter(|label| is_region(label)).map(str::to_owned)
}

/// `eu-central-1`, `us-gov-west-1`: letters in parts, a number last.
fn is_region(label: &str) -> bool {
    let parts: Vec<_> = label.split('-').collect();
    parts.len() >= 3
        && parts.split_last().is_some_and(|(number, words)| {
            !number.is_empty()
                && number.bytes().all(|b| b.is_ascii_digit())
                && words.iter().all(|word| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_into_their_parts() {
        for (text, tls, host, port, base) in [
            ("https://s3.eu-central-1.amazonaws.com", true, "s3.eu-central-1.amazonaws.com", 443, ""),
            ("https://S3.Example.com/", true, "s3.example.com", 443, ""),
            ("http://garage.internal:3900", false, "garage.internal", 3900, ""),
            ("http://127.0.0.1/s3/eu/", false, "127.0.0.1", 80, "/s3/eu"),
            ("https://[2001:DB8::1]:9000", true, "2001:db8::1", 9000, ""),
        ] {
            let expected = Endpoint { tls, host: host.into(), port, base_path: base.into() };
            assert_eq!(parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_endpoint() {
        for text in [
            "",
            "s3.example.com",
            "ftp://s3.example.com",
            "https://",
            "https://user:pw@s3.example.com",
            "https://s3.example.com?x",
            "https://s3.example.com/#x",
            "https://s3.example.com:0",
            "https://s3.example.com:65536",
            "https://s3.example.com:",
            "https://[::1",
            "https://[::1]x",
            "https://s3..example.com",
            "https://s3.example.com/a//b",
            "https://s3.example.com/../b",
            "https://s3 example.com",
            "https://-a.com",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn amazons_hosts_name_their_region() {
        for (host, region) in [
            ("s3.amazonaws.com", Some("us-east-1")),
            ("s3.eu-central-1.amazonaws.com", Some("eu-central-1")),
            ("s3.dualstack.ap-southeast-2.amazonaws.com", Some("ap-southeast-2")),
            ("s3-fips.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
            ("s3-fips.dualstack.us-east-2.amazonaws.com", Some("us-east-2")),
            ("s3-eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("s3.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("bucket.vpce-0a1b.s3.us-east-1.vpce.amazonaws.com", Some("us-east-1")),
            ("accesspoint.s3-global.amazonaws.com", Some("*")),
            ("s3-accelerate.amazonaws.com", None),
            ("s3.example.com", None),
            ("s3.eu-central-1.amazonaws.com.example.com", None),
            ("evilamazonaws.com", None),
        ] {
            assert_eq!(signing_region(host).as_deref(), region, "{host}");
        }
        assert!(is_amazon("s3-accelerate.amazonaws.com") && !is_amazon("amazonaws.com.evil.org"));
    }
}
