//! Golden files: good configurations compile with exactly these warnings, bad ones are refused
//! with exactly these faults. `UPDATE_GOLDEN=1` writes the lists anew, to be read before commit.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nearpoint::config::{Loaded, Outside, Refused, compile};

/// The environment of every case. Values named SECRET must appear in no fault.
fn env(name: &str) -> Option<String> {
    let value = match name {
        "G_ID" => "GKid",
        "G_SECRET" => "very-SECRET-value",
        "G_TOKEN" => "SECRET-session-token",
        "ADMIN_TOKEN" => "SECRET-admin-token",
        "EMPTY" => "",
        "BAD_ENDPOINT" => "https://SECRET@example.com",
        "BAD_PROFILE" | "BAD_BUCKET" | "BAD_REGION" => "SECRET value in the wrong place",
        _ => return None,
    };
    Some(value.to_owned())
}

fn read_file(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
}

fn cases(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new("tests/cases/config").join(folder);
    let mut cases: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    cases.sort();
    cases
}

fn compile_case(path: &Path) -> Result<Loaded, Refused> {
    compile(&fs::read_to_string(path).unwrap(), path, Outside { env: &env, read_file: &read_file })
}

/// Compares with the list beside the case, or writes it.
fn compare(case: &Path, lines: &[String]) {
    let list = case.with_extension("txt");
    let seen: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let seen = seen.replace("tests/cases/config/", "");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(list, seen).unwrap();
        return;
    }
    let expected = fs::read_to_string(&list).unwrap_or_default();
    assert_eq!(seen, expected, "{}", case.display());
}

#[test]
fn good_ones_compile_with_exactly_these_warnings() {
    let cases = cases("good");
    assert!(cases.len() >= 4, "cases are missing");
    for case in cases {
        let loaded = compile_case(&case).unwrap_or_else(|refused| panic!("{}:\n{refused}", case.display()));
        compare(
            &case,
            &loaded.warnings.iter().map(|warning| format!("warning: {warning}")).collect::<Vec<_>>(),
        );
        assert!(loaded.depends_on.contains(&case));
        let printed = format!("{loaded:?}");
        assert!(!printed.contains("SECRET") && !printed.contains("a-secret-out-of"), "{printed}");
    }
}

#[test]
fn bad_ones_are_refused_with_exactly_these_faults() {
    let cases = cases("bad");
    assert!(cases.len() >= 14, "cases are missing");
    for case in cases {
        let refused = compile_case(&case).map(drop).expect_err(&case.display().to_string());
        assert!(!refused.faults.is_empty());
        let faults = refused.faults.iter().map(ToString::to_string);
        let warnings = refused.warnings.iter().map(|warning| format!("warning: {warning}"));
        let lines: Vec<_> = faults.chain(warnings).collect();
        for line in &lines {
            assert!(!line.contains("SECRET") && !line.contains("hunter2"), "a secret is printed: {line}");
            assert!(!line.contains('\n'), "a fault is one line: {line}");
        }
        compare(&case, &lines);
    }
}
