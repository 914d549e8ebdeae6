//! Golden files: good configurations compile with exactly these warnings, bad ones are refused
//! with exactly these faults. `UPDATE_GOLDEN=1` writes the lists anew, to be read before commit.

#![expect(clippy::unwrap_used, reason = "a case that cannot be read is a failed test")]

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
    let mut seen = lines.join("\n").replace("tests/cases/config/", "");
    if !seen.is_empty() {
        seen.push('\n');
    }
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

/// The environment and the files that the shipped configurations refer to.
fn shipped(name: &str) -> Result<Loaded, Refused> {
    let env = |name: &str| {
        let value = match name {
            "DEMO_LISTEN" | "DEMO_FRANKFURT" | "DEMO_VIRGINIA" | "DEMO_SINGAPORE" => "127.0.0.1:9100",
            name if name.starts_with("DEMO_") || name.starts_with("CELLAR_") => "NPKEY",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let read_file = |path: &Path| match path.strip_prefix("/run/secrets/nearpoint") {
        Ok(name) if name.extension().is_some_and(|ending| ending == "crt") => {
            read_file(Path::new("tests/cases/config/files/tls.crt"))
        }
        Ok(name) if name.extension().is_some_and(|ending| ending == "key") => {
            read_file(Path::new("tests/cases/config/files/tls.key"))
        }
        Ok(name) => Ok(format!("what {} holds\n", name.display())),
        Err(_) => fs::read_to_string(path),
    };
    let path = Path::new("config").join(name);
    compile(&fs::read_to_string(&path).unwrap(), &path, Outside { env: &env, read_file: &read_file })
}

#[test]
fn every_shipped_configuration_compiles_without_a_warning() {
    let mut shipped_files = 0;
    for entry in fs::read_dir("config").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            shipped_files += 1;
            let name = path.file_name().unwrap().to_str().unwrap();
            let loaded = shipped(name).unwrap_or_else(|refused| panic!("{refused}"));
            assert_eq!(loaded.warnings, [], "{name}");
        }
    }
    assert_eq!(shipped_files, 3);
}

/// Uncomments the lines that show defaults (`#   key: value`, `# limits:`) of a section.
fn uncommented(text: &str, section: &str) -> String {
    let head = format!("# {section}:");
    let lines = text.lines().skip_while(|line| *line != head).take_while(|line| line.starts_with('#'));
    let lines: Vec<_> = lines.filter_map(|line| line.strip_prefix("# ")).collect();
    assert!(lines.len() > 10, "{section} is not shown");
    lines.join("\n") + "\n"
}

#[test]
fn the_defaults_that_the_gateway_shows_are_the_defaults() {
    let text = fs::read_to_string("config/gateway.yaml").unwrap();
    let shown = format!(
        "{}{}listeners: {{s3: [{{address: unix:/s, verify: off}}]}}\n\
         regions: {{eu: {{endpoint: 'https://s3.amazonaws.com', credentials: {{chain: default}}}}}}\n\
         access_points: {{photos: {{buckets: {{eu: photos}}}}}}\n",
        uncommented(&text, "limits"),
        uncommented(&text, "timeouts"),
    );
    let outside = Outside { env: &env, read_file: &read_file };
    let shown =
        compile(&shown, Path::new("shown.yaml"), outside).unwrap_or_else(|refused| panic!("{refused}"));
    assert_eq!(shown.warnings, []);
    let least = compile_case(Path::new("tests/cases/config/good/least.yaml")).unwrap();
    assert_eq!(shown.settings.limits, least.settings.limits);
    assert_eq!(shown.settings.timeouts, least.settings.timeouts);
    let gateway = shipped("gateway.yaml").unwrap();
    assert_eq!(gateway.settings.telemetry, least.settings.telemetry);
}
