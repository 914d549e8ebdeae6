//! From what was asked to what is done, and an exit code: 0 done, 1 failed or objective missed,
//! 2 usage or configuration.

use std::io::{self, Write as _};
use std::process::ExitCode;

use super::{Cli, Command, Healthcheck, Serve};
use crate::admin;
use crate::gateway::{self, Origin};

/// Failed, or an objective was missed.
const FAILED: u8 = 1;
/// Usage or configuration.
const USAGE: u8 = 2;

/// Does what was asked.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let code = match cli.command {
        Command::Serve(serve) => run_serve(&serve),
        Command::Check(check) => super::check(&check, &mut io::stdout()).unwrap_or(FAILED),
        #[cfg(feature = "demo")]
        Command::Demo(demo) => run_demo(&demo),
        Command::Healthcheck(healthcheck) => run_healthcheck(&healthcheck),
    };
    ExitCode::from(code)
}

fn run_serve(serve: &Serve) -> u8 {
    let loaded = match serve.load() {
        Ok(loaded) => loaded,
        Err(refused) => {
            complain(&refused.to_string());
            return USAGE;
        }
    };
    let origin = serve.config.clone().map_or(Origin::Fixed, Origin::File);
    match gateway::serve(loaded, origin) {
        Ok(()) => 0,
        Err(error) => {
            complain(&format!("nearpoint: {error:#}"));
            FAILED
        }
    }
}

fn run_healthcheck(asked: &Healthcheck) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let health = runtime.map(|runtime| runtime.block_on(admin::healthcheck(&asked.admin, asked.timeout)));
    match health {
        Ok(Ok(health)) if health.ready || !asked.ready => 0,
        Ok(Ok(health)) => {
            complain(&health.report);
            FAILED
        }
        Ok(Err(unwell)) => {
            complain(&unwell.to_string());
            FAILED
        }
        Err(error) => {
            complain(&error.to_string());
            FAILED
        }
    }
}

#[cfg(feature = "demo")]
fn run_demo(demo: &super::Demo) -> u8 {
    use std::io::IsTerminal as _;

    let options = match demo.options(io::stdout().is_terminal()) {
        Ok(options) => options,
        Err(fault) => {
            complain(&fault);
            return USAGE;
        }
    };
    match crate::demo::play(&options, &mut io::stdout(), gateway::demo::start) {
        // whoever plays by hand may kill every region
        Ok(tally) if tally.is_clean() || options.script.is_none() => 0,
        Ok(_) => FAILED,
        Err(fault) => {
            complain(&fault.to_string());
            FAILED
        }
    }
}

/// A closed standard error is nobody's loss.
fn complain(text: &str) {
    if writeln!(io::stderr(), "{text}").is_err() {
        tracing::debug!("standard error is closed");
    }
}
