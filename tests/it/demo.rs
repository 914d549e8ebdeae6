//! `nearpoint demo` as its users run it.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::house::client::{Client, Request};
use crate::house::control::Control;
use crate::house::region::PATIENCE;

fn demo(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nearpoint"));
    command.args(["demo", "--listen", "127.0.0.1:0"]).args(words).env("TMPDIR", folder).stdin(Stdio::null());
    command
}

/// What is left in the folder for temporary files.
fn left_in(folder: &Path) -> Vec<std::ffi::OsString> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect()
}

/// The longest stall of this machine with which a failed read proves something: a tenth of the
/// shortest first-byte timeout.
const STALL_MAX: Duration = Duration::from_millis(50);
/// Plays on a machine that is too busy before it is left at what does not depend on time.
const PLAYS: usize = 3;

#[test]
fn a_region_dies_and_returns_and_no_read_fails() {
    let folder = tempfile::tempdir().unwrap();
    let words = ["--for", "4s", "--kill", "frankfurt@1s", "--revive", "frankfurt@2s"];
    for _ in 0..PLAYS {
        let control = Control::start();
        let done = demo(folder.path(), &words).output().unwrap();
        let stall = control.stall();
        let text = String::from_utf8_lossy(&done.stdout);
        let said = format!("{text}\n{}\nstalls of {stall:?}", String::from_utf8_lossy(&done.stderr));
        let (before, after) = text.split_once("frankfurt killed").unwrap_or_else(|| panic!("{said}"));
        assert!(before.contains("  serving "), "nobody served at first\n{said}");
        // which of the two is nearer a busy machine may see otherwise
        let others = ["virginia   serving", "singapore  serving"];
        assert!(others.iter().any(|other| after.contains(other)), "nobody took over\n{said}");
        assert!(after.contains("frankfurt revived"), "{said}");
        let clean = after.contains(" reads, 0 failed");
        assert_eq!(done.status.code(), Some(i32::from(!clean)), "{said}");
        assert_eq!(left_in(folder.path()), [""; 0]);
        if clean {
            return;
        }
        assert!(stall > STALL_MAX, "reads failed\n{said}");
    }
    eprintln!("inconclusive: the machine is too busy to tell whether reads fail");
}

/// Kills it where the test ended early.
struct Played(Child);

impl Drop for Played {
    fn drop(&mut self) {
        self.0.kill().unwrap_or_default();
        self.0.wait().unwrap();
    }
}

#[tokio::test]
async fn played_by_hand_it_has_traffic_and_operators_can_look() {
    let folder = tempfile::tempdir().unwrap();
    let mut played = Played(demo(folder.path(), &[]).stdout(Stdio::piped()).spawn().unwrap());
    let (told, lines) = mpsc::channel();
    let out = played.0.stdout.take().unwrap();
    std::thread::spawn(move || {
        BufReader::new(out).lines().map_while(Result::ok).try_for_each(|line| told.send(line))
    });
    let mut said = String::new();
    let mut wait_for = |what: &str| loop {
        let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no {what:?} in\n{said}"));
        said.push_str(&line);
        said.push('\n');
        if line.contains(what) {
            return line;
        }
    };
    let admin = wait_for("  admin ");
    let admin = admin.split("http://").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    wait_for("  serving ");
    let client = Client { host: "localhost".to_owned(), ..Client::new(admin, "", "", "") };
    let asked = client.unsigned(&Request::get("/metrics"));
    let counted =
        async { while !client.send_signed(&asked).await.text().contains("operation=\"GetObject\"") {} };
    tokio::time::timeout(PATIENCE, counted).await.expect("reads are counted");
    let killed = Command::new("kill").arg("-TERM").arg(played.0.id().to_string()).status().unwrap();
    assert!(killed.success());
    wait_for(" reads, 0 failed");
    assert_eq!(played.0.wait().unwrap().code(), Some(0));
    assert_eq!(left_in(folder.path()), [""; 0]);
}
