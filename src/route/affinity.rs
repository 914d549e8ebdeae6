//! Which region a request is bound to by the ids that it names. Pure.

use crate::names::RegionId;
use crate::s3::Call;
use crate::s3::operation::Kind;

use super::access_point::{AccessPoint, Versions};

/// A request's bond to a region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    /// None: by the access point's order.
    #[default]
    None,
    /// Only there: what it names exists nowhere else.
    Region(RegionId),
    /// There first; elsewhere if need be.
    Prefer(RegionId),
    /// There first while it serves no worse than others: it was changed there lately, and whether
    /// another region's answer is of that change is looked into.
    Recent(RegionId),
}

/// Where an id that a client sent came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is one of our tokens, and names this region.
    Token(RegionId),
    /// It is no token (`null`, or an id from before nearpoint): home's.
    Plain,
}

/// The origins of the ids a call names; `None` where it names no such id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// Of `uploadId`.
    pub upload: Option<Origin>,
    /// Of `versionId`.
    pub version: Option<Origin>,
    /// Of `continuation-token`, or of the markers of a listing of uploads or versions.
    pub listing: Option<Origin>,
}

/// The bond that follows: an upload's requests go to the upload, a version's to the version, a
/// listing goes on where it began.
#[must_use]
pub fn affinity(access_point: &AccessPoint, call: &Call, origins: &Origins) -> Affinity {
    if let Some(upload) = &origins.upload {
        return Affinity::Region(region(upload, access_point));
    }
    if let Some(version) = &origins.version {
        return of_version(version, call.facts().kind, access_point);
    }
    match &origins.listing {
        Some(Origin::Token(region)) => Affinity::Prefer(region.clone()),
        // a foreign token means nothing to the other regions
        Some(Origin::Plain) => Affinity::Region(access_point.home.clone()),
        None => Affinity::None,
    }
}

fn of_version(origin: &Origin, kind: Kind, access_point: &AccessPoint) -> Affinity {
    match (access_point.versions, kind) {
        (Versions::PerRegion, Kind::Read | Kind::Write) => Affinity::Region(region(origin, access_point)),
        (Versions::Shared, Kind::Read) => Affinity::None,
        // a version's removal does not replicate: it is home's, whatever the client has seen
        (Versions::Shared, Kind::Write) => Affinity::Region(access_point.home.clone()),
    }
}

fn region(origin: &Origin, access_point: &AccessPoint) -> RegionId {
    match origin {
        Origin::Token(region) => region.clone(),
        Origin::Plain => access_point.home.clone(),
    }
}
