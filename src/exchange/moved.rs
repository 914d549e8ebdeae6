//! Where a bucket is when it is not where the configuration says: what the store tells, and how the bucket
//! is asked for then.
//!
//! A store that is asked in another region than a bucket's says so: by `400 AuthorizationHeaderMalformed`
//! where it serves the bucket all the same, by `301` or `307` where another host does. The next try is
//! signed for the region that it names. Another host is asked only where it can be told without believing
//! the store: Amazon's name the region they serve, and all of them are Amazon's. Whatever address a
//! redirect gives is not followed: the client's data and our signature would go to whomever it names.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use http::{HeaderMap, StatusCode};

use crate::names::RegionId;
use crate::s3::xml::StoreError;
use crate::sigv4::is_region_set;
use crate::telemetry::metric::{self, Metric};
use crate::view::{Endpoint, RegionSettings};

/// Buckets of one region that are remembered; beyond, the oldest are forgotten, which costs a round trip
/// more. Named access points have a handful; a wildcard's strangers cannot fill more.
const REMEMBERED: usize = 64;
/// Bytes: longer is no region's name.
const LONGEST_REGION: usize = 64;

/// Where a bucket is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whom to ask.
    pub endpoint: Endpoint,
    /// What to sign for.
    pub signing_region: String,
}

impl Place {
    /// Where the configuration says that a region's buckets are.
    #[must_use]
    pub fn configured(region: &RegionSettings) -> Self {
        Self { endpoint: region.endpoint.clone(), signing_region: region.signing_region.clone() }
    }

    /// The region's settings, asked for here.
    #[must_use]
    pub fn settings(self, region: &RegionSettings) -> RegionSettings {
        let Self { endpoint, signing_region } = self;
        RegionSettings { endpoint, signing_region, ..region.clone() }
    }
}

/// What a store says of a bucket that is elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told<'a> {
    /// The region to sign for.
    region: &'a str,
    /// Another host serves it.
    redirects: bool,
}

/// Reads an answer. `None` where it names no region.
#[must_use]
pub fn told<'a>(
    status: StatusCode,
    headers: &'a HeaderMap,
    error: Option<&'a StoreError>,
) -> Option<Told<'a>> {
    let header = headers.get("x-amz-bucket-region").and_then(|region| region.to_str().ok());
    let region = header.or_else(|| error?.region.as_deref())?;
    let named = (1..=LONGEST_REGION).contains(&region.len())
        && region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    named.then_some(Told { region, redirects: status.is_redirection() })
}

/// Where the bucket is to be asked for, if who asked `at` was told this. `None` where that would change
/// nothing, or nobody can say whom to ask.
fn place(told: Told<'_>, at: &Place) -> Option<Place> {
    if told.region == at.signing_region || is_region_set(&at.signing_region) {
        return None;
    }
    let mut endpoint = at.endpoint.clone();
    if told.redirects {
        endpoint.host = host(&at.endpoint, &at.signing_region, told.region)?;
    }
    Some(Place { endpoint, signing_region: told.region.to_owned() })
}

/// The host of Amazon's that serves `region`, told from that of another region.
fn host(endpoint: &Endpoint, from: &str, region: &str) -> Option<String> {
    let (name, rest) = endpoint.host.split_once(".amazonaws.com").filter(|_| endpoint.is_of_aws())?;
    let named = region.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    let name = match name {
        _ if !named => return None,
        "s3" | "s3-external-1" => format!("s3.{region}"),
        _ if name.strip_prefix("s3-") == Some(from) => format!("s3.{region}"),
        _ => {
            let (service, own) = name.rsplit_once('.')?;
            let plain = matches!(service, "s3" | "s3-fips" | "s3.dualstack" | "s3-fips.dualstack");
            (plain && own == from).then(|| format!("{service}.{region}"))?
        }
    };
    Some(format!("{name}.amazonaws.com{rest}"))
}

/// What is remembered of one region's buckets, by all who ask it.
#[derive(Debug, Default)]
pub struct Moved {
    /// Nearly always false: then the table is not locked.
    any: AtomicBool,
    table: Mutex<VecDeque<Row>>,
}

#[derive(Debug)]
struct Row {
    bucket: Box<str>,
    /// What the configuration said: a row is good for no other.
    configured: Place,
    place: Place,
}

impl Moved {
    /// Where this bucket is asked for, where not as the region is configured.
    #[must_use]
    pub fn of(&self, bucket: &str, region: &RegionSettings) -> Option<Place> {
        self.any.load(Ordering::Acquire).then(|| self.from(bucket, &Place::configured(region)))?
    }

    /// Takes in what was told to who asked `at` this place; the new one. `None` where that helps nothing.
    pub fn learn(
        &self,
        (region, bucket): (&RegionId, &str),
        told: Told<'_>,
        configured: &Place,
        at: &Place,
    ) -> Option<Place> {
        let place = place(told, at)?;
        metric::counter(Metric::BucketsMoved, &[region.as_str()]).increment(1);
        tracing::warn!(
            %region,
            bucket,
            signing_region = place.signing_region,
            endpoint = place.endpoint.authority(),
            "the store says that a bucket is in another region than configured, and it is asked for there until the \
             next start: set the region's signing_region and endpoint so, or name the right bucket"
        );
        let row = Row { bucket: Box::from(bucket), configured: configured.clone(), place: place.clone() };
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.retain(|known| *known.bucket != *bucket);
        if table.len() >= REMEMBERED {
            table.pop_front();
        }
        table.push_back(row);
        self.any.store(true, Ordering::Release);
        Some(place)
    }

    /// The same, by what the configuration says.
    #[must_use]
    pub fn from(&self, bucket: &str, configured: &Place) -> Option<Place> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let row = table.iter().find(|row| *row.bucket == *bucket && row.configured == *configured);
        row.map(|row| row.place.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(host: &str, signing_region: &str) -> Place {
        let endpoint = Endpoint { tls: true, host: host.to_owned(), port: 443, base_path: String::new() };
        Place { endpoint, signing_region: signing_region.to_owned() }
    }

    #[test]
    fn the_region_is_read_from_the_head_or_else_from_the_document() {
        let document = StoreError { region: Some("us-west-2".to_owned()), ..StoreError::default() };
        let mut headers = HeaderMap::new();
        let read = |headers: &HeaderMap, error| {
            told(StatusCode::BAD_REQUEST, headers, error).map(|told| told.region.to_owned())
        };
        assert_eq!(read(&headers, Some(&document)).as_deref(), Some("us-west-2"));
        assert_eq!(read(&headers, None), None);
        headers.insert("x-amz-bucket-region", "eu-west-3".parse().unwrap());
        assert_eq!(read(&headers, Some(&document)).as_deref(), Some("eu-west-3"));
        assert_eq!(read(&headers, None).as_deref(), Some("eu-west-3"));
        for odd in ["", "eu/west", "evil.example.com", "a b", "*", &"a".repeat(65)] {
            headers.insert("x-amz-bucket-region", odd.parse().unwrap());
            assert_eq!(read(&headers, None), None, "{odd}");
        }
    }

    #[test]
    fn a_wrong_scope_is_signed_anew_for_the_same_host() {
        let garage = at("garage.internal", "garage");
        let moved = place(Told { region: "paris", redirects: false }, &garage).unwrap();
        assert_eq!(
            (moved.endpoint.host.as_str(), moved.signing_region.as_str()),
            ("garage.internal", "paris")
        );
        for (told, from) in [("garage", &garage), ("paris", &at("garage.internal", "*"))] {
            assert_eq!(place(Told { region: told, redirects: false }, from), None, "it changes nothing");
        }
    }

    #[test]
    fn only_among_amazons_hosts_is_a_redirect_followed() {
        for (host, from, to) in [
            ("s3.eu-west-1.amazonaws.com", "eu-west-1", Some("s3.us-west-2.amazonaws.com")),
            ("s3.amazonaws.com", "us-east-1", Some("s3.us-west-2.amazonaws.com")),
            ("s3-eu-west-1.amazonaws.com", "eu-west-1", Some("s3.us-west-2.amazonaws.com")),
            (
                "s3.dualstack.eu-west-1.amazonaws.com",
                "eu-west-1",
                Some("s3.dualstack.us-west-2.amazonaws.com"),
            ),
            ("s3-fips.us-east-1.amazonaws.com", "us-east-1", Some("s3-fips.us-west-2.amazonaws.com")),
            ("s3.cn-north-1.amazonaws.com.cn", "cn-north-1", Some("s3.us-west-2.amazonaws.com.cn")),
            ("b.vpce-0a.s3.us-east-1.vpce.amazonaws.com", "us-east-1", None),
            ("s3-accelerate.amazonaws.com", "us-east-1", None),
            ("s3.eu-west-1.amazonaws.com", "elsewhere", None),
            ("s3.eu-west-1.amazonaws.com.example.com", "eu-west-1", None),
            ("minio.internal", "eu-west-1", None),
        ] {
            let moved = place(Told { region: "us-west-2", redirects: true }, &at(host, from));
            assert_eq!(moved.map(|moved| moved.endpoint.host).as_deref(), to, "{host}");
        }
        let odd = Told { region: "EU_1", redirects: true };
        assert_eq!(place(odd, &at("s3.eu-west-1.amazonaws.com", "eu-west-1")), None);
    }

    #[test]
    fn a_bucket_is_remembered_for_the_configuration_that_was_wrong_and_no_more_than_there_is_room_for() {
        let (moved, configured, other) = (Moved::default(), at("h", "x"), at("h", "y"));
        let learn = |bucket: &str, region: &str, configured: &Place| {
            let told = Told { region, redirects: false };
            moved.learn((&RegionId::new("eu"), bucket), told, configured, configured)
        };
        assert_eq!(learn("b", "x", &configured), None);
        for n in 0..3 * REMEMBERED {
            let region = format!("r{n}");
            assert_eq!(learn(&format!("b{n}"), &region, &configured), Some(at("h", &region)));
            learn("often", &region, &configured);
            assert!(moved.table.lock().unwrap().len() <= REMEMBERED);
        }
        let last = format!("r{}", 3 * REMEMBERED - 1);
        assert_eq!(moved.from("often", &configured), Some(at("h", &last)));
        assert_eq!(moved.from("often", &other), None, "a reload has corrected it");
        assert_eq!(moved.from("b0", &configured), None);
    }
}
