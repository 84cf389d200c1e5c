//! One test per scenario of the corpus, per planted bug, and per regression.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use libtest_mimic::{Arguments, Failed, Trial};

/// Seeds of a scenario with a claim. One with an expectation runs until it is met.
const SEEDS: &str = "40";

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let root = root.canonicalize().expect("the crate lies two floors deep");
    let mut trials = Vec::new();
    for (kind, args) in [
        ("corpus", &["fuzz", "--seeds", SEEDS, "--jobs", "1"][..]),
        ("mutants", &["mutants"][..]),
        ("regressions", &["fuzz"][..]),
    ] {
        let mut files = Vec::new();
        walk(&root.join("scenarios").join(kind), &mut files);
        files.sort();
        for file in files {
            let shown = file.strip_prefix(&root).expect("found below it").to_owned();
            let name = shown.with_extension("").to_string_lossy().into_owned();
            let root = root.clone();
            trials.push(Trial::test(name, move || as_it_says(&root, args, &shown)));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("the folder is readable").path();
        if path.is_dir() {
            walk(&path, found);
        } else if path.extension().is_some_and(|end| end == "toml") {
            found.push(path);
        }
    }
}

/// Exit code 0: as claimed, or as expected.
fn as_it_says(root: &Path, args: &[&str], file: &Path) -> Result<(), Failed> {
    let out = tempfile::tempdir()?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_oncesim"));
    command.current_dir(root).arg(args[0]).arg(file).args(&args[1..]).env("NO_COLOR", "1");
    if args[0] == "fuzz" {
        command.arg("--out").arg(out.path());
    }
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let (result, notes) = (output.stdout, output.stderr);
    Err(format!(
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&result),
        String::from_utf8_lossy(&notes),
    )
    .into())
}
