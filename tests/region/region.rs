//! A region in a process of its own, to be killed, stopped and started again: the region of the
//! integration tests, which verifies every signature with an implementation that is not ours, with
//! a log that outlives it and a control port. For tests only.
//!
//! `region --name NAME --listen ADDRESS --control ADDRESS --home FOLDER --signing-region REGION
//! --access-key-id ID --secret SECRET --bucket BUCKET…`
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::format_push_string,
    reason = "a test fails by panicking; its documents are small"
)]
#![expect(unreachable_pub, reason = "what the integration tests use is shared")]

#[path = "../it/house"]
#[expect(dead_code, unused_imports, reason = "a test house offers more than a region in a process needs")]
mod house {
    pub mod digest;
    pub mod moment;
    pub mod region;
    pub mod text;
}

mod control;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;

use crate::house::region::{Region, Settings};

/// Requests that it remembers: nobody asks for them.
const REMEMBERED: usize = 64;

#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    name: String,
    #[arg(long)]
    listen: SocketAddr,
    /// Where it is told what to do wrong, and replicators read.
    #[arg(long)]
    control: SocketAddr,
    /// What it keeps its objects in.
    #[arg(long)]
    home: PathBuf,
    #[arg(long)]
    signing_region: String,
    #[arg(long)]
    access_key_id: String,
    #[arg(long)]
    secret: String,
    #[arg(long, required = true)]
    bucket: Vec<String>,
    /// Keeps every version.
    #[arg(long)]
    versioned: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let controls = TcpListener::bind(arguments.control).expect("the control port is free");
    let region = Region::start_with(Settings {
        signing_region: arguments.signing_region,
        access_key_id: arguments.access_key_id,
        secret: arguments.secret,
        versioned: arguments.versioned,
        listen: arguments.listen,
        home: Some(arguments.home),
        remembered: REMEMBERED,
        sums_whole: true,
        buckets: arguments.bucket,
        ..Settings::new(&arguments.name, &[])
    });
    println!("ready {} {}", region.address(), controls.local_addr().unwrap());
    control::serve(&controls, &Arc::new(region));
}
