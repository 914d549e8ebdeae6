//! Holds the house's walls: who may know whom, what a pure room may name, what nothing may be
//! called. Reads `src/` as text and fails with the offending line.

#![expect(clippy::unwrap_used, reason = "a file that cannot be read fails the test, as it should")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Each room with the rooms it may use. A room that is not listed here does not exist.
const MAY_USE: &[(&str, &[&str])] = &[
    // soil
    ("names", &[]),
    ("units", &[]),
    ("pem", &["names"]),
    ("head", &["units"]),
    ("clock", &["units"]),
    ("chance", &[]),
    ("publish", &[]),
    ("sync", &[]),
    ("certificate", &["units"]),
    ("telemetry", &["names", "units", "clock", "publish"]),
    // grammar: s3 and sigv4 do not know each other
    ("s3", &["names", "units", "head"]),
    ("sigv4", &["names", "units", "head"]),
    // judgement
    ("policy", &["names", "units", "s3", "sigv4"]),
    ("fleet", &["names", "units", "chance", "sync", "s3"]),
    ("token", &["names", "units"]),
    ("faults", &["chance", "s3"]),
    ("overload", &["sync", "s3"]),
    ("route", &["names", "units", "chance", "sync", "s3", "policy", "fleet"]),
    ("view", &["names", "units", "pem", "s3", "sigv4", "policy", "fleet", "route", "token"]),
    // doors
    ("http1", &["units", "clock", "head"]),
    ("body", &["SOIL_TO_JUDGEMENT", "http1"]),
    ("dns", SOIL_TO_JUDGEMENT),
    ("credentials", SOIL_TO_JUDGEMENT),
    ("steward", SOIL_TO_JUDGEMENT),
    ("listen", &["SOIL_TO_JUDGEMENT", "http1"]),
    ("exchange", &["SOIL_TO_JUDGEMENT", "http1", "body", "dns", "credentials", "steward"]),
    ("probe", &["SOIL_TO_JUDGEMENT", "dns", "credentials", "steward", "exchange"]),
    // story
    ("refusal", &["SOIL_TO_JUDGEMENT", "body", "exchange"]),
    (
        "pipeline",
        &[
            "SOIL_TO_JUDGEMENT",
            "http1",
            "listen",
            "probe",
            "body",
            "credentials",
            "exchange",
            "refusal",
            "steward",
        ],
    ),
    // side rooms: none sees the story
    ("admin", &["SOIL_TO_JUDGEMENT", "listen", "steward"]),
    ("demo", &["SOIL_TO_JUDGEMENT", "steward"]),
    // roof
    ("config", EVERYTHING),
    ("gateway", EVERYTHING),
    ("cli", EVERYTHING),
    ("main", EVERYTHING),
];

const SOIL_TO_JUDGEMENT: &[&str] = &["SOIL_TO_JUDGEMENT"];
const EVERYTHING: &[&str] = &["EVERYTHING"];
const BELOW_THE_DOORS: &[&str] = &[
    "names",
    "units",
    "pem",
    "head",
    "clock",
    "chance",
    "publish",
    "sync",
    "certificate",
    "telemetry",
    "s3",
    "sigv4",
    "policy",
    "fleet",
    "token",
    "faults",
    "overload",
    "route",
    "view",
];

/// Rooms (or files) that decide: no socket, file, environment, clock or task. A file whose own words
/// say "Pure." is held to them too.
const PURE: &[&str] = &[
    "names",
    "units",
    "pem",
    "head",
    "chance",
    "certificate",
    "s3",
    "sigv4",
    "policy",
    "fleet",
    "overload",
    "route",
    "token",
    "faults",
    "view",
    "refusal",
    "body/progress",
    "dns/accrual",
    "credentials/rhythm",
    "dns/cache",
    "exchange/idle",
    "probe/schedule",
    "probe/written",
    "exchange/skew",
    "probe/verdict",
    "listen/gate/scan",
    "listen/gate/head",
    "listen/gate/violation",
    "listen/readers",
    "listen/settings",
    "admin/guard",
    "admin/ready",
    "admin/settings",
    "telemetry/settings",
    "config/compile",
    "demo/script",
];
const NOT_PURE: &[&str] = &[
    "tokio",
    "hyper::",
    "hyper_util",
    "hickory",
    "reqwest",
    "std::fs",
    "std::env",
    "std::net::Tcp",
    "std::net::Udp",
    "socket2",
    "Instant::now",
    "SystemTime",
    "tracing",
    "metrics::",
    "std::thread",
    "crate::clock",
];

/// The rooms that may touch sockets, and the side rooms' own doors: the admin listener and the
/// demo's regions and clients.
const DOORS: &[&str] = &[
    "http1",
    "body",
    "dns",
    "credentials",
    "steward",
    "listen",
    "exchange",
    "probe",
    "admin/plane",
    "admin/health",
    "demo/door",
    "demo/traffic",
];
const SOCKETS: &[&str] = &[
    "tokio::net",
    "std::net::Tcp",
    "std::net::Udp",
    "std::os::unix::net",
    "TcpStream",
    "TcpListener",
    "UnixStream",
    "UnixListener",
    "UdpSocket",
    "socket2",
    "hyper::client",
    "hyper::server",
    "reqwest",
];

/// Names that say nothing about what is inside.
const NO_STEMS: &[&str] = &[
    "utils",
    "util",
    "helpers",
    "helper",
    "common",
    "misc",
    "types",
    "manager",
    "handler",
    "processor",
    "data",
    "info",
    "base",
];

struct Line {
    file: String,
    room: String,
    /// The file says of itself that it is pure.
    claims: bool,
    number: usize,
    text: String,
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// Every line of code outside test code and comments.
fn lines() -> Vec<Line> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&root, &mut files);
    assert!(files.len() > 20, "src/ was not read");
    let mut lines = Vec::new();
    for path in files {
        let file = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        if file.ends_with("tests.rs") || file.contains("/tests/") {
            continue;
        }
        let room = file.split(['/', '.']).next().unwrap().to_owned();
        let source = fs::read_to_string(&path).unwrap();
        let claims = source.lines().any(|text| text.starts_with("//!") && says_pure(text));
        for (number, text) in code_of(&source) {
            lines.push(Line {
                file: file.clone(),
                room: room.clone(),
                claims,
                number,
                text: text.to_owned(),
            });
        }
    }
    lines
}

/// `Pure.`, `Pure;`, `Pure:`: not `Pure but for …`.
fn says_pure(text: &str) -> bool {
    text.split_once("Pure").is_some_and(|(_, rest)| rest.starts_with(['.', ';', ':']))
}

/// The lines of a source that are neither comments nor test code, trimmed and numbered from 1. What
/// `#[cfg(test)]` stands on is test code, and what comes after it is not: the end of an item is told
/// by its indentation, which rustfmt keeps.
fn code_of(source: &str) -> Vec<(usize, &str)> {
    let mut code = Vec::new();
    let mut lines = source.lines().enumerate();
    while let Some((at, text)) = lines.next() {
        let trimmed = text.trim_start();
        if trimmed == "#[cfg(test)]" {
            let indent = text.len() - trimmed.len();
            let of_item = |text: &str| !text.trim_start().starts_with("#[");
            let Some((_, first)) = lines.by_ref().find(|(_, text)| of_item(text)) else { break };
            if !first.ends_with([';', ',', '}']) {
                let ends = |text: &str| {
                    text.get(indent..).is_some_and(|rest| rest.starts_with(['}', ']', ')']))
                        && text.trim_start().len() == text.len() - indent
                };
                assert!(lines.by_ref().any(|(_, text)| ends(text)), "no end of `{first}`");
            }
        } else if !trimmed.starts_with("//") && !trimmed.is_empty() {
            code.push((at + 1, trimmed));
        }
    }
    code
}

/// Whether a file is one of these rooms or files.
fn is_of(rooms: &[&str], file: &str) -> bool {
    let stem = file.trim_end_matches(".rs");
    rooms.iter().any(|room| stem == *room || stem.starts_with(&format!("{room}/")))
}

fn allowed(room: &str) -> Option<Vec<&'static str>> {
    let (_, listed) = MAY_USE.iter().find(|(name, _)| *name == room)?;
    let mut rooms = Vec::new();
    for entry in *listed {
        match *entry {
            "SOIL_TO_JUDGEMENT" => rooms.extend_from_slice(BELOW_THE_DOORS),
            "EVERYTHING" => rooms.extend(MAY_USE.iter().map(|(name, _)| *name)),
            room => rooms.push(room),
        }
    }
    Some(rooms)
}

/// The rooms named by `crate::…` on a line, also in a braced list.
fn rooms_used(text: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (_, rest) in text.match_indices("crate::").map(|(at, found)| text.split_at(at + found.len())) {
        let list = rest.strip_prefix('{').map_or(rest, |inside| inside.split('}').next().unwrap());
        let parts: Vec<&str> = if rest.starts_with('{') { list.split(',').collect() } else { vec![list] };
        for part in parts {
            let name: String = part
                .trim()
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_')
                .collect();
            if !name.is_empty() {
                rooms.push(name);
            }
        }
    }
    rooms
}

#[test]
fn a_room_uses_only_what_lies_below_it() {
    let mut offences = Vec::new();
    for line in lines() {
        if line.file == "lib.rs" {
            continue;
        }
        let Some(allowed) = allowed(&line.room) else {
            offences.push(format!("src/{}: the room `{}` is not in the table", line.file, line.room));
            continue;
        };
        for used in rooms_used(&line.text) {
            if used != line.room && !allowed.contains(&used.as_str()) {
                offences.push(format!(
                    "src/{}:{}: `{}` may not know `{used}`",
                    line.file, line.number, line.room
                ));
            }
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn what_decides_touches_nothing() {
    let mut offences = Vec::new();
    for line in lines() {
        let pure = line.claims || is_of(PURE, &line.file);
        for banned in NOT_PURE.iter().filter(|_| pure) {
            if line.text.contains(banned) {
                offences.push(format!("src/{}:{}: a pure room names `{banned}`", line.file, line.number));
            }
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

/// What judges regions goes by the monotonic clock alone: one that is set, or that jumps, changes no
/// standing, no order and no budget. The wall clock is for what stores date and sign by.
#[test]
fn a_wall_clock_moves_nothing() {
    const MONOTONIC: &[&str] = &[
        "fleet",
        "overload",
        "faults",
        "probe/schedule",
        "dns/accrual",
        "dns/cache",
        "exchange/idle",
        "route/budget",
        "route/hedge",
        "route/memory",
        "route/plan",
        "route/poison",
        "route/rank",
        "route/verdict",
    ];
    let mut offences = Vec::new();
    for line in lines().iter().filter(|line| is_of(MONOTONIC, &line.file)) {
        if ["UnixSeconds", ".wall", "Moment"].iter().any(|wall| line.text.contains(wall)) {
            offences.push(format!("src/{}:{}: {}", line.file, line.number, line.text));
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn only_doors_touch_sockets() {
    let mut offences = Vec::new();
    for line in lines().iter().filter(|line| !is_of(DOORS, &line.file)) {
        for socket in SOCKETS.iter().filter(|socket| line.text.contains(**socket)) {
            offences.push(format!("src/{}:{}: no door, but names `{socket}`", line.file, line.number));
        }
    }
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn every_file_of_the_lists_exists() {
    let lines = lines();
    for room in PURE.iter().chain(DOORS) {
        assert!(
            lines.iter().any(|line| is_of(&[room], &line.file)),
            "`{room}` is listed, which is not in src/"
        );
    }
}

#[test]
fn code_goes_on_after_an_item_of_tests() {
    let source = "\
use a;
#[cfg(test)]
#[path = \"x.rs\"]
mod tests;
#[cfg(test)]
pub const ALL: &[u8] = &[
    1,
];
// a comment
struct S {
    #[cfg(test)]
    spy: Spy,
    b: B,
}
impl S {
    #[cfg(test)]
    fn told(&self) {
        if true {
        }
    }
    fn c() {}
}
#[cfg(test)]
mod tests {
    use z;
}
";
    let code: Vec<&str> = code_of(source).into_iter().map(|(_, text)| text).collect();
    assert_eq!(code, ["use a;", "struct S {", "b: B,", "}", "impl S {", "fn c() {}", "}"]);
    assert_eq!(code_of(source)[1].0, 10, "lines are numbered as in the file");
}

#[test]
fn only_the_pipeline_grants_a_permit() {
    let offences: Vec<String> = lines()
        .iter()
        .filter(|line| line.text.contains("Permit::granted(") && line.room != "pipeline")
        .map(|line| format!("src/{}:{}", line.file, line.number))
        .collect();
    assert!(offences.is_empty(), "a permit is granted outside the pipeline: {offences:?}");
}

#[test]
fn the_yaml_crate_stays_behind_one_file() {
    let mut files: Vec<String> =
        lines().into_iter().filter(|line| line.text.contains("serde_yaml")).map(|line| line.file).collect();
    files.dedup();
    assert!(files.len() <= 1, "serde_yaml is named in {files:?}");
}

#[test]
fn names_say_what_is_inside() {
    let mut offences = Vec::new();
    for line in lines() {
        for part in line.file.trim_end_matches(".rs").split('/') {
            if NO_STEMS.contains(&part) {
                offences.push(format!("src/{}: a file named `{part}`", line.file));
            }
        }
        if let Some(rest) = line.text.split("fn get_").nth(1) {
            offences.push(format!("src/{}:{}: fn get_{rest}", line.file, line.number));
        }
    }
    offences.dedup();
    assert!(offences.is_empty(), "\n{}", offences.join("\n"));
}

#[test]
fn every_room_of_the_table_exists() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines() {
        *seen.entry(line.room).or_default() += 1;
    }
    for (room, _) in MAY_USE {
        assert!(seen.contains_key(*room), "the table lists `{room}`, which is not in src/");
    }
}
