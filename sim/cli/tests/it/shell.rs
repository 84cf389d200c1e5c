//! Commands, run as a person would run them: in a folder that sees the checkout's scenarios.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    root.canonicalize().expect("the crate lies two floors deep")
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Done {
    pub(crate) fn of(output: Output) -> Done {
        Done {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).expect("results are UTF-8"),
            err: String::from_utf8(output.stderr).expect("diagnostics are UTF-8"),
        }
    }

    /// The one JSON document on standard output.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("not one document ({error}): {}{}", self.out, self.err))
    }
}

/// A folder of its own, with the checkout's scenarios in it.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let scenarios = root().join("scenarios");
        std::os::unix::fs::symlink(scenarios, folder.path().join("scenarios"))
            .expect("a link can be made");
        Folder(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("the folder is writable");
    }

    /// Runs `oncesim` with these arguments.
    pub(crate) fn oncesim(&self, args: &[&str]) -> Done {
        Done::of(self.command(args).output().expect("oncesim starts"))
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oncesim"));
        command.args(args).current_dir(self.0.path());
        command.env_remove("CLICOLOR_FORCE").env("NO_COLOR", "1").env("COLUMNS", "100");
        command
    }
}

/// Files below `folder` whose name ends so, sorted, relative to the checkout.
pub(crate) fn files(folder: &str, end: &str) -> Vec<String> {
    let mut found = Vec::new();
    walk(&root(), Path::new(folder), end, &mut found);
    found.sort();
    found
}

fn walk(root: &Path, folder: &Path, end: &str, found: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(root.join(folder)) else { return };
    for entry in entries {
        let entry = entry.expect("the folder is readable");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = folder.join(&name);
        let hidden = name.starts_with('.') && !matches!(name.as_str(), ".ci" | ".github");
        if entry.path().is_dir() {
            if !hidden && !matches!(name.as_str(), "target" | "out") {
                walk(root, &path, end, found);
            }
        } else if name.ends_with(end) {
            let shown = path.to_string_lossy().into_owned();
            found.push(shown.trim_start_matches("./").to_owned());
        }
    }
}
