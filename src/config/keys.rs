//! Every key that a configuration may have, section by section: one table from which strictness,
//! suggestions and the completeness test of the shipped files read.

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) name: &'static str,
    /// Whether this version acts on it. One that it does not act on is a fault and never ignored.
    pub(super) acted_on: bool,
}

const fn key(name: &'static str) -> Key {
    Key { name, acted_on: true }
}

const fn later(name: &'static str) -> Key {
    Key { name, acted_on: false }
}

pub(super) const TOP: &[Key] = &[
    key("logical_region"),
    key("tokens"),
    key("state_dir"),
    key("listeners"),
    key("domains"),
    key("regions"),
    key("access_points"),
    key("clients"),
    key("limits"),
    key("timeouts"),
    key("telemetry"),
    later("control"),
];

pub(super) const TOKENS: &[Key] = &[key("keys")];

pub(super) const LISTENERS: &[Key] = &[key("s3"), key("admin")];

pub(super) const LISTENER: &[Key] = &[
    key("address"),
    key("tls"),
    key("verify"),
    key("anonymous"),
    key("allow_from"),
    key("allow_origins"),
    key("debug_headers"),
    key("trusted_proxies"),
];

pub(super) const LISTENER_TLS: &[Key] = &[key("certificate"), key("key"), key("client_ca")];

pub(super) const ADMIN: &[Key] = &[key("address"), key("token")];

pub(super) const REGION: &[Key] = &[
    key("endpoint"),
    key("signing_region"),
    key("addressing"),
    key("credentials"),
    key("tls"),
    key("profile"),
    key("honours"),
    key("trailers"),
    key("body_hash"),
    key("kms_keys"),
    key("probe"),
    later("egress_cost_per_gib"),
];

pub(super) const CREDENTIALS: &[Key] =
    &[key("chain"), key("access_key_id"), key("secret_access_key"), key("session_token")];

pub(super) const REGION_TLS: &[Key] = &[key("ca_file"), key("certificate"), key("key")];

pub(super) const PROBE: &[Key] = &[key("interval"), key("bucket"), key("key"), key("write")];

pub(super) const ACCESS_POINT: &[Key] = &[
    key("alias"),
    key("owner"),
    key("buckets"),
    key("reads"),
    key("writes"),
    key("conditional_writes"),
    key("replication"),
    key("versions"),
    key("etags"),
    key("lag_shield"),
    later("passive_as_last_resort"),
    key("hedge"),
    key("write_nonce"),
    key("etag_check"),
    later("dials"),
];

pub(super) const WILDCARD: &[Key] = &[key("regions")];

pub(super) const HEDGE: &[Key] = &[key("reads")];

pub(super) const LAG_SHIELD: &[Key] = &[key("fallback"), key("remember_writes")];

pub(super) const READS: &[Key] = &[key("order"), key("failover")];

pub(super) const WRITES: &[Key] = &[key("order"), key("home"), key("failover")];

pub(super) const CLIENT: &[Key] = &[
    key("name"),
    key("access_key_id"),
    key("secret_access_key"),
    key("session_token"),
    key("policy"),
    key("region_credentials"),
    key("signature_v2"),
    key("diagnose_signatures"),
];

pub(super) const LIMITS: &[Key] = &[
    key("connections"),
    key("connections_per_ip"),
    key("head"),
    key("header_fields"),
    key("in_flight"),
    key("in_flight_per_region"),
    key("replay_body"),
    key("replay_total"),
    key("xml_body"),
    key("attempts"),
    key("retry_share"),
    key("retry_floor"),
    key("resumes"),
    key("remembered_keys"),
];

pub(super) const TIMEOUTS: &[Key] = &[
    key("connect"),
    key("tls"),
    key("first_byte"),
    key("put_answer"),
    key("complete"),
    key("body_progress"),
    key("stalled_reader"),
    key("client_head"),
    key("idle"),
    key("upstream_idle"),
    key("drain_min"),
    key("drain"),
];

pub(super) const TELEMETRY: &[Key] = &[key("log"), key("access_log"), key("format")];

/// All sections.
#[cfg(test)]
pub(super) const ALL: &[&[Key]] = &[
    TOP,
    TOKENS,
    LISTENERS,
    LISTENER,
    LISTENER_TLS,
    ADMIN,
    REGION,
    CREDENTIALS,
    REGION_TLS,
    PROBE,
    ACCESS_POINT,
    WILDCARD,
    HEDGE,
    LAG_SHIELD,
    READS,
    WRITES,
    CLIENT,
    LIMITS,
    TIMEOUTS,
    TELEMETRY,
];
