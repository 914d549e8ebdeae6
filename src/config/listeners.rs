//! The `listeners` section.

use ipnet::IpNet;

use super::context::Context;
use super::endpoint::is_host;
use super::fault::Position;
use super::keys;
use super::section::{Placed, Section};
use super::yaml::Node;
use crate::admin::AdminSettings;
use crate::listen::{Address, Anonymous, ListenerSettings, TlsSettings};
use crate::names::ExposeSecret;
use crate::pem::PemFile;

/// A listener, and where it stands.
pub(super) struct PlacedListener {
    pub(super) at: Position,
    pub(super) settings: ListenerSettings,
}

/// Where a data listener listens unless the operator says otherwise.
pub const DATA: &str = "127.0.0.1:9000";
/// Where the admin listener listens unless the operator says otherwise.
pub const ADMIN: &str = "127.0.0.1:9901";

const ADDRESS: &str = "an address and port such as 127.0.0.1:9000 or [::1]:9000, or unix:/path/to/socket";

/// Compiles both sections, data and admin.
pub(super) fn listeners(
    section: Option<&Section<'_>>,
    at: Position,
) -> (Vec<PlacedListener>, Option<AdminSettings>) {
    let Some(section) = section else { return (vec![default_listener(at)], default_admin()) };
    let nodes = section.list("s3", "a list of listeners");
    let mut listeners: Vec<_> = nodes.iter().filter_map(|node| listener(section.context, node)).collect();
    if section.node("s3").is_none() {
        listeners.push(default_listener(at));
    } else if nodes.is_empty() {
        section.context.fault(
            section.position_of("s3"),
            "there is no data listener",
            "at least one under `s3`",
        );
    }
    let admin = match section.node("admin") {
        Some(node) => admin(section.context, node),
        None => default_admin().map(|settings| Placed { at, value: settings }),
    };
    check_addresses(section.context, &listeners, admin.as_ref());
    (listeners, admin.map(|placed| placed.value))
}

fn default_listener(at: Position) -> PlacedListener {
    PlacedListener { at, settings: ListenerSettings::new(Address::Tcp(([127, 0, 0, 1], 9000).into())) }
}

fn default_admin() -> Option<AdminSettings> {
    Some(AdminSettings { address: ADMIN.parse().ok()?, token: None })
}

/// An address; of a unix socket a relative path begins at the configuration.
fn address(section: &Section<'_>) -> Option<Placed<Address>> {
    section.parsed("address", ADDRESS, |text| {
        Some(match text.parse().ok()? {
            Address::Unix(path) => Address::Unix(section.context.resolve(path.to_str()?)),
            tcp @ Address::Tcp(_) => tcp,
        })
    })
}

fn listener(context: &Context<'_>, node: &Node) -> Option<PlacedListener> {
    let section = Section::open(context, node, keys::LISTENER, "a listener")?;
    section.require("address", ADDRESS);
    let address = address(&section);
    let verify = section.word("verify", &[("required", true), ("off", false)]);
    let anonymous = section.word(
        "anonymous",
        &[("deny", Anonymous::Deny), ("sign", Anonymous::Sign), ("forward", Anonymous::Forward)],
    );
    let allow_from =
        section.all_parsed("allow_from", "a network such as 10.0.0.0/8 or 2001:db8::/32", network);
    let trusted_proxies =
        section.all_parsed("trusted_proxies", "a network such as 10.0.0.0/8 or 2001:db8::/32", network);
    let allow_origins = section.all_parsed(
        "allow_origins",
        "an origin as browsers send it, such as https://app.example.com",
        origin,
    );
    let debug_headers = section.boolean("debug_headers");
    let tls = section.node("tls").is_some().then(|| tls(&section));
    let Placed { at, value: address } = address?;
    let mut settings = ListenerSettings::new(address);
    settings.verify = verify.is_none_or(|placed| placed.value);
    settings.anonymous = anonymous.as_ref().map_or(Anonymous::Deny, |placed| placed.value);
    settings.allow_from = allow_from.into_iter().map(|placed| placed.value).collect();
    settings.trusted_proxies = trusted_proxies.into_iter().map(|placed| placed.value).collect();
    settings.allow_origins = allow_origins.into_iter().map(|placed| placed.value).collect();
    settings.debug_headers = debug_headers.map_or(settings.debug_headers, |placed| placed.value);
    // Where it is faulty it is missing here, so that the rest is checked all the same: after a
    // fault settings mean nothing.
    settings.tls = tls.flatten();
    check_open_door(&section, &settings, anonymous.map(|placed| placed.at));
    Some(PlacedListener { at, settings })
}

/// Listeners that take unsigned requests from beyond this machine must say from whom.
fn check_open_door(section: &Section<'_>, settings: &ListenerSettings, anonymous: Option<Position>) {
    if !settings.verify
        && let (Some(at), true) = (anonymous, settings.anonymous != Anonymous::Deny)
    {
        section.context.warn(at, "`anonymous` means nothing beside `verify: off`, which takes every request");
    }
    let open = if settings.verify { "anonymous" } else { "verify" };
    // What is forwarded unsigned is the stores' to let in.
    let unsigned = !settings.verify || settings.anonymous == Anonymous::Sign;
    if unsigned && !settings.address.is_local() && settings.allow_from.is_empty() {
        let what = format!("`{open}` lets unsigned requests in from beyond this machine");
        let expected = "`allow_from` with the networks that may, or a loopback address or unix socket";
        section.context.fault(section.position_of(open), what, expected);
    }
}

fn tls(section: &Section<'_>) -> Option<TlsSettings> {
    let tls = section.section("tls", keys::LISTENER_TLS)?;
    tls.require("certificate", "the path of the certificate chain (PEM)");
    tls.require("key", "the path of the private key (PEM)");
    let identity = tls.identity();
    let client_ca = tls.node("client_ca").map(|_| tls.pem("client_ca", PemFile::authorities));
    let client_ca = match client_ca {
        // A faulty authority must never become none at all.
        Some(file) => Some(file?.value),
        None => None,
    };
    let (certificate, key) = identity?;
    Some(TlsSettings { certificate, key, client_ca })
}

/// A network, or one address.
fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse().ok().map(|address: std::net::IpAddr| IpNet::from(address)))
}

/// `https://host[:port]`, as browsers write it: lower-case, nothing after the authority.
fn origin(text: &str) -> Option<String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"))?;
    let (host, port) = match rest.rsplit_once(':') {
        Some((host, port)) if !host.starts_with('[') || host.ends_with(']') => (host, Some(port)),
        _ => (rest, None),
    };
    let host_fits = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => is_host(host) && !host.bytes().any(|b| b.is_ascii_uppercase()),
    };
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
    (host_fits && port_fits).then(|| text.to_owned())
}

fn admin(context: &Context<'_>, node: &Node) -> Option<Placed<AdminSettings>> {
    let section = Section::open(context, node, keys::ADMIN, "`admin`")?;
    let address = match section.node("address") {
        Some(_) => address(&section)?,
        None => Placed { at: section.at, value: ADMIN.parse().ok()? },
    };
    let token = section.secret("token");
    if token.is_none() && section.node("token").is_none() && !address.value.is_local() {
        let expected = "`token` beside it, or a loopback address or unix socket";
        context.fault(
            address.at,
            "the admin listener is reachable from beyond this machine without a token",
            expected,
        );
    }
    if let Some(token) = &token
        && token.value.expose_secret().len() < SHORTEST_TOKEN
    {
        context.fault(token.at, "`token` of `admin` is short enough to be guessed", "at least 16 bytes");
    }
    let token = token.map(|placed| placed.value);
    Some(Placed { at: address.at, value: AdminSettings { address: address.value, token } })
}

/// Bytes: 128 bits, if they are random ones.
const SHORTEST_TOKEN: usize = 16;

/// Two listeners cannot share an address, unless the kernel chooses the port.
fn check_addresses(
    context: &Context<'_>,
    listeners: &[PlacedListener],
    admin: Option<&Placed<AdminSettings>>,
) {
    let data = listeners.iter().map(|listener| (listener.at, &listener.settings.address));
    let all: Vec<_> = data.chain(admin.map(|admin| (admin.at, &admin.value.address))).collect();
    for (n, (at, address)) in all.iter().enumerate() {
        let chosen = matches!(address, Address::Tcp(address) if address.port() == 0);
        if !chosen && all.iter().take(n).any(|(_, earlier)| earlier == address) {
            context.fault(*at, format!("two listeners are at {address}"), "an address of its own for each");
        }
    }
}
