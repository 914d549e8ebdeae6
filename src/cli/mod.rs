//! Room: the command line. Says what may be asked of the command, and answers what needs no
//! running proxy: `check`. Exit codes: 0 done, 1 failed, 2 usage or configuration.

pub mod run;

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use serde_json::json;

use crate::config::{self, Fault, Loaded, Refused};
#[cfg(feature = "demo")]
use crate::demo;
use crate::gateway::online::{self, Found, Looked};
use crate::listen::Address;
#[cfg(feature = "demo")]
use crate::names::RegionId;
use crate::s3::profile::{Feature, Features};
use crate::units;

/// One S3 endpoint over buckets in many regions: verified, routed to the nearest healthy region,
/// re-signed, carried through that region's failure.
#[derive(Clone, Debug, Parser)]
#[command(name = "nearpoint", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be asked.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the endpoint. SIGHUP or a changed file reloads, SIGTERM drains.
    Serve(Serve),
    /// Report every fault of a configuration at once, with line and hint. Exits 2 if there is one.
    Check(Check),
    /// Play three regions on this machine with an access point over them, and kill them.
    #[cfg(feature = "demo")]
    Demo(Demo),
    /// Exit 0 if the running process is healthy, 1 if not: for images without curl.
    Healthcheck(Healthcheck),
}

/// Where the settings come from: a file, or flags.
#[derive(Args, Clone, Debug)]
pub struct Serve {
    /// The configuration file (YAML).
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "access_point",
        conflicts_with_all = ["access_point", "regions", "replication"]
    )]
    pub config: Option<PathBuf>,
    /// Without a file: the bucket that clients see, at 127.0.0.1:9000, unsigned requests included.
    #[arg(long, value_name = "NAME", requires = "regions")]
    pub access_point: Option<String>,
    /// Without a file: a region and its bucket; the first is home. Signing region and profile are
    /// read from Amazon's hosts, others need them:
    /// NAME=URL/BUCKET[,signing=REGION][,profile=STORE][,addressing=path|virtual].
    #[arg(long = "region", value_name = "NAME=URL/BUCKET", requires = "access_point")]
    pub regions: Vec<String>,
    /// Without a file: how the stores replicate the buckets, `none`, `one_way` or `two_way`.
    /// nearpoint copies nothing.
    #[arg(long, value_name = "HOW", requires = "access_point")]
    pub replication: Option<String>,
}

impl Serve {
    /// Compiles what was said.
    ///
    /// # Errors
    /// [`Refused`] with every fault at once.
    pub fn load(&self) -> Result<Loaded, Refused> {
        match (&self.config, &self.access_point) {
            (Some(file), _) => config::load(file),
            // clap lets nobody through without either; an empty name is a fault of its own.
            (None, name) => {
                let replication = self.replication.as_deref();
                config::load_flags(name.as_deref().unwrap_or_default(), &self.regions, replication)
            }
        }
    }
}

/// What to check.
#[derive(Args, Clone, Debug)]
pub struct Check {
    /// The configuration file (YAML).
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Print JSON: `{"faults": […], "warnings": […]}`, and `"online": […]` where that was asked for.
    #[arg(long)]
    pub json: bool,
    /// Ask every bucket of every named access point for a key that is not there, with its region's
    /// credential: proves name, connection, TLS, clock, credential and bucket, and warns where absent
    /// keys answer 403, which leaves the lag shield blind. Also lists, and asks whether versions are
    /// kept where the configuration counts on them, and for the time. Writes nothing.
    #[arg(long)]
    pub online: bool,
    /// With `--online`: also put a small key next to the probe's where writes may go, and ask the store for
    /// all that a region's profile can say of it: conditional writes, each checksum, trailers, hashes,
    /// encryption, lock, ACLs, tags, versions, attributes, names in hosts. What the profile claims and the
    /// store lacks is a warning or a fault, what it denies and the store has a hint; a line says which
    /// profile fits. Then delete the key, and each version that was made of it.
    #[arg(long, requires = "online")]
    pub write: bool,
}

/// How long the demo plays and what it does to its regions.
#[cfg(feature = "demo")]
#[derive(Args, Clone, Debug)]
pub struct Demo {
    /// Stop by itself after this long, such as 30s; without it the terminal's keys decide.
    #[arg(long = "for", value_name = "DURATION")]
    pub duration: Option<String>,
    /// Kill a region after this long, such as frankfurt@10s. May be repeated.
    #[arg(long = "kill", value_name = "REGION@DURATION", requires = "duration")]
    pub kills: Vec<String>,
    /// Revive a killed region after this long, such as frankfurt@20s. May be repeated.
    #[arg(long = "revive", value_name = "REGION@DURATION", requires = "duration")]
    pub revives: Vec<String>,
    /// Where the endpoint listens; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9000")]
    pub listen: std::net::SocketAddr,
    /// How far replicas lag behind, such as 2s.
    #[arg(long, value_name = "DURATION", default_value = "500ms", value_parser = units::duration)]
    pub lag: Duration,
}

#[cfg(feature = "demo")]
impl Demo {
    /// What the play is told.
    ///
    /// # Errors
    /// In words, what is wrong with the script.
    pub fn options(&self, terminal: bool) -> Result<demo::Options, String> {
        let regions: Vec<RegionId> = demo::regions::PLANS.iter().map(|plan| RegionId::new(plan.id)).collect();
        let script = |text: &str| demo::Script::parse(text, &self.kills, &self.revives, &regions);
        let script = self.duration.as_deref().map(script).transpose().map_err(|fault| fault.to_string())?;
        let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Ok(demo::Options { listen: self.listen, lag: self.lag, script, terminal, colour })
    }
}

/// Whom to ask.
#[derive(Args, Clone, Debug)]
pub struct Healthcheck {
    /// The admin listener: address and port, or `unix:/path`.
    #[arg(long, value_name = "ADDRESS", default_value = config::DEFAULT_ADMIN, value_parser = address)]
    pub admin: Address,
    /// Ask whether it is ready for traffic, and not only alive.
    #[arg(long)]
    pub ready: bool,
    /// How long to wait for the answer.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = units::duration)]
    pub timeout: Duration,
}

/// Checks a configuration and writes what was found to `out`, faults before warnings. Returns the
/// exit code: 0 where there is no fault, 2 where there is one; 1 where only a bucket that was asked
/// has one.
///
/// # Errors
/// Where `out` cannot be written, or no bucket be asked.
pub fn check(check: &Check, out: &mut impl Write) -> io::Result<u8> {
    let (faults, warnings, looked) = match config::load(&check.file) {
        Ok(loaded) => {
            let looked = if check.online { online::look(&loaded.settings, check.write)? } else { Vec::new() };
            (Vec::new(), loaded.warnings, looked)
        }
        Err(refused) => (refused.faults, refused.warnings, Vec::new()),
    };
    if check.json {
        let all = |faults: &[Fault]| faults.iter().map(fault_json).collect::<Vec<_>>();
        let mut document = json!({ "faults": all(&faults), "warnings": all(&warnings) });
        if let (true, Some(document)) = (check.online, document.as_object_mut()) {
            document.insert("online".to_owned(), looked.iter().map(looked_json).collect());
        }
        writeln!(out, "{document:#}")?;
    } else {
        for fault in &faults {
            writeln!(out, "{fault}")?;
        }
        for warning in &warnings {
            writeln!(out, "warning: {warning}")?;
        }
        for one in &looked {
            told_online(one, out)?;
        }
        table_online(&looked, out)?;
        let (faults, warnings) = (counted(faults.len(), "fault"), counted(warnings.len(), "warning"));
        writeln!(out, "{}: {faults}, {warnings}", check.file.display())?;
    }
    let unfit = looked.iter().any(|one| one.worst() == "fault");
    Ok(match (faults.is_empty(), unfit) {
        (true, false) => 0,
        (true, true) => 1,
        (false, _) => 2,
    })
}

/// What was found of one bucket, a line for each thing that is to be said.
fn told_online(one: &Looked, out: &mut impl Write) -> io::Result<()> {
    let whose = format!("bucket `{}` of `{}` in `{}`", one.bucket, one.access_point, one.region);
    if one.of(online::Check::AbsentKey) == Some(&Found::Well) {
        writeln!(out, "{whose}: answers, and says 404 of an absent key")?;
    }
    for (_, found) in &one.findings {
        if let Some(words) = found.says() {
            writeln!(out, "{}: {whose}: {words}", found.verdict())?;
        }
    }
    if let Some(fit) = &one.fit {
        writeln!(out, "{whose}: {}", fit.words())?;
    }
    Ok(())
}

/// All of them side by side, a column for each check that was made of any; and what their stores were seen
/// to do, a column for each store.
fn table_online(looked: &[Looked], out: &mut impl Write) -> io::Result<()> {
    let made = |check: &online::Check| looked.iter().any(|one| one.of(*check).is_some());
    let checks: Vec<online::Check> = online::Check::COMMON.into_iter().filter(made).collect();
    if checks.is_empty() {
        return Ok(());
    }
    let mut heads = vec!["access point".to_owned(), "region".to_owned(), "bucket".to_owned()];
    heads.extend(checks.iter().map(|check| check.name().replace('_', " ")));
    let mut rows = vec![heads];
    for one in looked {
        let mut row = vec![one.access_point.to_string(), one.region.to_string(), one.bucket.to_string()];
        row.extend(checks.iter().map(|check| one.of(*check).map_or("-", Found::verdict).to_owned()));
        rows.push(row);
    }
    aligned(&rows, out)?;

    let asked: Vec<&Looked> = looked.iter().filter(|one| one.fit.is_some()).collect();
    if asked.is_empty() {
        return Ok(());
    }
    let mut heads = vec!["capability".to_owned()];
    heads.extend(asked.iter().map(|one| format!("{} in {}", one.access_point, one.region)));
    let mut rows = vec![heads];
    for can in online::Capability::ALL {
        let mut row = vec![can.name().to_owned()];
        row.extend(asked.iter().map(|one| capability_cell(one, can)));
        rows.push(row);
    }
    writeln!(out)?;
    aligned(&rows, out)?;
    writeln!(out)
}

/// What was seen, and what is to be said of it.
fn capability_cell(one: &Looked, can: online::Capability) -> String {
    let shown = one.shown(can).map_or("-", online::Shown::name);
    match one.of(online::Check::Can(can)) {
        Some(found) if found.says().is_some() => format!("{shown} ({})", found.verdict()),
        _ => shown.to_owned(),
    }
}

/// Rows in columns as wide as they must be.
fn aligned(rows: &[Vec<String>], out: &mut impl Write) -> io::Result<()> {
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max();
    let widths: Vec<usize> = (0..).map_while(width).collect();
    for row in rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

fn looked_json(looked: &Looked) -> serde_json::Value {
    let said: Vec<&str> = looked.findings.iter().filter_map(|(_, found)| found.says()).collect();
    let checks = looked.findings.iter().map(|(check, found)| {
        let mut told = json!({ "verdict": found.verdict(), "says": found.says() });
        let shown = match check {
            online::Check::Can(can) => looked.shown(*can),
            _ => None,
        };
        if let (Some(shown), Some(told)) = (shown, told.as_object_mut()) {
            told.insert("store".to_owned(), shown.name().into());
            told.insert("seen".to_owned(), shown.words().into());
        }
        (check.name().to_owned(), told)
    });
    json!({
        "access_point": looked.access_point.as_str(),
        "region": looked.region.as_str(),
        "bucket": looked.bucket.as_str(),
        "verdict": looked.worst(),
        "says": (!said.is_empty()).then(|| said.join("; ")),
        "checks": checks.collect::<serde_json::Map<_, _>>(),
        "fit": looked.fit.as_ref().map(fit_json),
    })
}

fn fit_json(fit: &online::Fit) -> serde_json::Value {
    let names = |features: Features| features.iter().map(Feature::name).collect::<Vec<_>>();
    json!({
        "profile": fit.ready,
        "settings": fit.settings,
        "configured": fit.configured,
        "has": names(fit.has),
        "lacks": names(fit.lacks),
        "untold": fit.untold.iter().map(|(feature, _)| feature.name()).collect::<Vec<_>>(),
    })
}

fn fault_json(fault: &Fault) -> serde_json::Value {
    json!({
        "file": fault.file,
        "line": fault.position.map(|position| position.line),
        "column": fault.position.map(|position| position.column),
        "what": fault.what,
        "expected": fault.expected,
        "suggestion": fault.suggestion,
    })
}

/// `no fault`, `1 fault`, `2 faults`.
fn counted(count: usize, noun: &str) -> String {
    match count {
        0 => format!("no {noun}"),
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

fn address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|error: crate::listen::NotAnAddress| error.to_string())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(words: &[&str]) -> Result<Command, String> {
        let words = std::iter::once(&"nearpoint").chain(words);
        Cli::try_parse_from(words).map(|cli| cli.command).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_takes_a_file_or_flags_and_not_both() {
        assert!(parse(&["serve", "--config", "np.yaml"]).is_ok());
        assert!(parse(&["serve", "--access-point", "photos", "--region", "eu=https://x/y"]).is_ok());
        for words in [
            &["serve"][..],
            &["serve", "--access-point", "photos"],
            &["serve", "--region", "eu=https://x/y"],
            &["serve", "--config", "np.yaml", "--access-point", "photos", "--region", "eu=https://x/y"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
        let Ok(Command::Serve(serve)) = parse(&["serve", "--access-point", "P", "--region", "eu"]) else {
            panic!("serve")
        };
        // the name and the region, and nothing that follows from them
        assert_eq!(serve.load().unwrap_err().faults.len(), 2);
    }

    #[test]
    fn healthcheck_asks_the_default_admin_listener() {
        let Ok(Command::Healthcheck(healthcheck)) = parse(&["healthcheck"]) else { panic!("healthcheck") };
        assert_eq!(healthcheck.admin.to_string(), "127.0.0.1:9901");
        assert_eq!(healthcheck.timeout, Duration::from_secs(2));
        assert!(!healthcheck.ready);
        assert!(parse(&["healthcheck", "--admin", "localhost"]).unwrap_err().contains("127.0.0.1:9000"));
    }

    #[cfg(feature = "demo")]
    #[test]
    fn the_demo_plays_without_hands() {
        let words = ["demo", "--for", "30s", "--kill", "frankfurt@10s", "--kill", "virginia@20s"];
        let Ok(Command::Demo(demo)) = parse(&words) else { panic!("demo") };
        assert!(demo.options(false).is_ok_and(|options| options.script.is_some()));
        assert!(parse(&["demo", "--kill", "frankfurt@1s"]).is_err(), "a script needs an end");
        for words in [["demo", "--for", "soon"].as_slice(), &["demo", "--for", "9s", "--kill", "atlantis@1s"]]
        {
            let Ok(Command::Demo(demo)) = parse(words) else { panic!("demo") };
            assert!(demo.options(false).is_err(), "{words:?}");
        }
    }

    fn checked(file: &str, json: bool) -> (u8, String) {
        let mut out = Vec::new();
        let code = check(&Check { file: file.into(), json, online: false, write: false }, &mut out).unwrap();
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn check_exits_2_on_faults_and_0_with_warnings() {
        let (code, text) = checked("tests/cases/config/bad/nobody.yaml", false);
        assert_eq!(code, 2);
        assert!(text.ends_with("nobody.yaml: 1 fault, no warning\n"), "{text}");
        let (code, text) = checked("tests/cases/config/no-such-file.yaml", false);
        assert_eq!(code, 2);
        assert!(text.contains("cannot read the configuration: no such file"), "{text}");
        let (code, text) = checked("config/sidecar.yaml", false);
        assert_eq!((code, text.as_str()), (0, "config/sidecar.yaml: no fault, no warning\n"));

        let warned = tempfile::NamedTempFile::new().unwrap();
        let text = std::fs::read_to_string("config/sidecar.yaml").unwrap().replace("two_way", "none");
        std::fs::write(warned.path(), text).unwrap();
        let (code, text) = checked(warned.path().to_str().unwrap(), false);
        assert_eq!(code, 0);
        assert!(text.starts_with("warning: ") && text.ends_with("no fault, 1 warning\n"), "{text}");
    }

    #[test]
    fn check_prints_json() {
        let (code, text) = checked("tests/cases/config/bad/syntax.yaml", true);
        assert_eq!(code, 2);
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["faults"][0]["line"], 3);
        assert_eq!(document["faults"][0]["column"], 10);
        assert_eq!(document["warnings"], json!([]));
    }
}
