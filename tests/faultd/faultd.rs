//! The fault proxy: stands between nearpoint and one store, passes every byte on as it came, and
//! wrongs requests as `nearpoint::faults` decides. For tests only; it never dials anything but the
//! store it was given.
//!
//! `faultd --listen ADDRESS --upstream ADDRESS --control ADDRESS --region NAME [--seed N]
//! [--tls CERTIFICATE.pem KEY.pem]`. It says `ready` with the addresses it listens on.
#![expect(unreachable_pub, reason = "one binary, whose modules the integration tests use too")]

mod control;
mod framing;
mod relay;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tokio::net::TcpListener;

use crate::relay::{Desk, Tls};

#[derive(Parser)]
struct Arguments {
    /// Where nearpoint dials.
    #[arg(long)]
    listen: SocketAddr,
    /// The store.
    #[arg(long)]
    upstream: SocketAddr,
    /// Where faults are asked for, one JSON document a line.
    #[arg(long)]
    control: SocketAddr,
    /// The name that scopes mean.
    #[arg(long, default_value = "")]
    region: String,
    /// Replays what chance decided.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Speaks TLS to nearpoint, with this certificate and key, read anew for each connection.
    #[arg(long, num_args = 2, value_names = ["CERTIFICATE", "KEY"])]
    tls: Option<Vec<PathBuf>>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("faultd: {fault}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> std::io::Result<()> {
    let tls = match arguments.tls.as_deref() {
        Some([certificate, key]) => Some(Tls { certificate: certificate.clone(), key: key.clone() }),
        _ => None,
    };
    let listener = TcpListener::bind(arguments.listen).await?;
    let controls = TcpListener::bind(arguments.control).await?;
    println!("ready {} {}", listener.local_addr()?, controls.local_addr()?);
    let desk = Desk::new(arguments.region, arguments.upstream, arguments.seed, tls);
    tokio::select! {
        ended = relay::serve(listener, desk.clone()) => ended,
        ended = control::serve(controls, desk) => ended,
    }
}
