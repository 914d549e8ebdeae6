//! The demo's configuration: the shipped `config/demo.yaml`, with the regions that were started.

use std::collections::HashMap;
use std::path::Path;

use super::{Loaded, Outside, Refused, compile};
use crate::demo::DemoSettings;
use crate::names::ExposeSecret;

const FILE: &str = "config/demo.yaml";
const TEXT: &str = include_str!("../../config/demo.yaml");

/// Compiles the demo's configuration.
///
/// # Errors
/// [`Refused`] where the shipped file does not fit the regions: a test holds that it does.
pub fn from_demo(settings: &DemoSettings) -> Result<Loaded, Refused> {
    let variables = variables(settings);
    let env = |name: &str| variables.get(name).cloned();
    compile(
        TEXT,
        Path::new(FILE),
        Outside { env: &env, read_file: &|_| Err(std::io::ErrorKind::NotFound.into()) },
    )
}

fn variables(settings: &DemoSettings) -> HashMap<String, String> {
    let mut variables = HashMap::from([
        ("DEMO_LOGICAL_REGION".to_owned(), settings.logical_region.clone()),
        ("DEMO_STATE_DIR".to_owned(), settings.state_dir.display().to_string()),
        ("DEMO_LISTEN".to_owned(), settings.listen.to_string()),
        ("DEMO_KEY".to_owned(), settings.client.access_key_id.to_string()),
        ("DEMO_SECRET".to_owned(), settings.client.secret.expose_secret().to_owned()),
    ]);
    for region in &settings.regions {
        let name = format!("DEMO_{}", region.id.as_str().to_ascii_uppercase());
        let credential = &region.credential;
        variables.insert(format!("{name}_KEY"), credential.access_key_id.to_string());
        variables.insert(format!("{name}_SECRET"), credential.secret.expose_secret().to_owned());
        variables.insert(name, region.address.to_string());
    }
    variables
}
