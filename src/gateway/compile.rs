//! Settings into the rooms' shared values.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;

use anyhow::Context as _;
use tracing::info;

use super::descriptors::Descriptors;
use crate::config::Settings;
use crate::fleet::RegionTable;
use crate::names::Secret;
use crate::s3::address::Domains;
use crate::sigv4::{KeyRing, Region, Rules};
use crate::token;
use crate::view::{AccessPoints, Clients, LogicalRegion, View};

/// Random bytes of a generated token key.
const TOKEN_KEY: usize = 32;

/// Gives a gateway without `tokens.keys` that needs them a key of its own, made once and kept.
pub(super) fn token_keys(settings: &mut Settings) -> anyhow::Result<()> {
    if settings.tokens.is_some() || !settings.needs_tokens() {
        return Ok(());
    }
    let file = settings.state_dir.join("token-key");
    let key = match fs::read_to_string(&file) {
        Ok(key) => key,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let key = hex::encode(random()?);
            fs::create_dir_all(&settings.state_dir)
                .with_context(|| format!("making {}", settings.state_dir.display()))?;
            let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file)?;
            out.write_all(key.as_bytes())?;
            info!(file = %file.display(), "a token key was generated: give it to every gateway as tokens.keys");
            key
        }
        Err(error) => return Err(error).with_context(|| format!("reading {}", file.display())),
    };
    settings.tokens = Some(vec![Secret::from(key.trim())]);
    Ok(())
}

fn random() -> anyhow::Result<[u8; TOKEN_KEY]> {
    let mut bytes = [0; TOKEN_KEY];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// A view of settings, within what this process may hold open. Its table is empty until the
/// steward fills it.
pub(super) fn view(settings: &Settings, descriptors: Descriptors) -> anyhow::Result<View> {
    let mut limits = settings.limits.clone();
    descriptors.clamp(&mut limits);
    let region = match &settings.logical_region {
        LogicalRegion::Any => Region::Any,
        LogicalRegion::Exactly(region) => Region::Exactly(region.clone()),
    };
    let tokens = settings.tokens.as_deref().map(token::Keys::new).transpose()?;
    let regions: Vec<_> = settings.regions.iter().cloned().map(Arc::new).collect();
    Ok(View {
        epoch: 0,
        configuration: 0,
        logical_region: settings.logical_region.clone(),
        rules: Arc::new(Rules::new(region)),
        domains: Arc::new(Domains::new(settings.domains.clone())),
        keys: Arc::new(KeyRing::new(settings.keys.clone())),
        clients: Arc::new(Clients::new(settings.clients.clone())),
        access_points: Arc::new(AccessPoints::new(
            settings.access_points.iter().cloned().map(Arc::new).collect(),
        )),
        regions: Arc::from(regions),
        limits: Arc::new(limits),
        timeouts: Arc::new(settings.timeouts.clone()),
        tokens: tokens.map(Arc::new),
        table: Arc::new(RegionTable::default()),
    })
}
