//! The binary: the command line, and an exit code. Nothing else.

use std::process::ExitCode;

use clap::Parser as _;
use nearpoint::cli::{self, Cli};

fn main() -> ExitCode {
    // One crypto family in the process; whoever asks for a default gets it.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    cli::run::run(Cli::parse())
}
