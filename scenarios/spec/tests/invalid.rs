//! Every file of `scenarios/invalid` is refused with the text that stands beside it.
//!
//! After a change of wording: `cargo test -p oncesim-spec --test invalid -- --ignored` writes the
//! texts anew, and the difference is reviewed like code.

#![expect(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("invalid");
    let mut cases: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    cases.sort();
    cases
}

/// What a person sees, with the path as it is typed in the folder of the file.
fn complaint(path: &Path) -> Option<String> {
    let name = path.file_name().unwrap().to_string_lossy();
    let text = std::fs::read_to_string(path).unwrap();
    let errors = oncesim_spec::parse(&name, &text, path.parent()).err()?;
    let folder = format!("{}/", path.parent().unwrap().display());
    Some(errors.render(false).replace(&folder, "") + "\n")
}

#[test]
fn every_wrong_file_is_refused_as_its_text_says() {
    let cases = cases();
    assert!(cases.len() >= 25, "{} cases", cases.len());
    let mut different = String::new();
    for path in cases {
        let shown = path.display();
        let Some(printed) = complaint(&path) else {
            different.push_str(&format!("{shown} is accepted\n"));
            continue;
        };
        assert!(printed.contains("error[S"), "{shown}: {printed}");
        let golden = std::fs::read_to_string(path.with_extension("stderr")).unwrap_or_default();
        if printed != golden {
            different.push_str(&format!("{shown} prints\n{printed}\ninstead of\n{golden}\n"));
        }
    }
    assert!(different.is_empty(), "{different}");
}

#[test]
#[ignore = "writes the expected texts"]
fn bless() {
    for path in cases() {
        let printed = complaint(&path).unwrap_or_else(|| panic!("{} is accepted", path.display()));
        std::fs::write(path.with_extension("stderr"), printed).unwrap();
    }
}
