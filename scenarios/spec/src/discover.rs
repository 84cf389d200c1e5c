//! Which scenarios a path stands for.

use std::path::{Path, PathBuf};

use crate::diagnostic::Diagnostics;
use crate::id;
use crate::matrix::MatrixSpec;

/// A file stands for itself, a directory for every `.toml` below it, sorted; folders that are
/// called `invalid` hold what must not run and are left out, as are hidden ones, and definitions of
/// matrices.
///
/// # Errors
/// When the path does not exist, cannot be read, or holds no scenario.
pub fn discover(path: &Path) -> Result<Vec<PathBuf>, Diagnostics> {
    let shown = path.display().to_string();
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    walk(path, &mut files).map_err(|error| {
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "check the path, or write a scenario to start from with `oncesim new NAME`"
            }
            _ => "name a file or folder that you may read",
        };
        Diagnostics::unreadable(&shown, &error, help)
    })?;
    if files.is_empty() {
        let message = format!("there are no scenarios (*.toml) in {shown}");
        let help = "name a scenario or a folder with scenarios, or write one with \
                    `oncesim new NAME`";
        return Err(Diagnostics::of_file(&shown, id::UNREADABLE, &message, help));
    }
    files.sort();
    Ok(files)
}

/// Whether a file is the definition of a matrix.
fn defines(path: &Path) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| MatrixSpec::is_definition(&text))
}

fn walk(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            let is_crate = path.join("Cargo.toml").is_file();
            if name != "invalid" && name != "target" && !is_crate {
                walk(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "toml") && !defines(&path) {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_corpus_is_found_and_wrong_files_are_not() {
        let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let files = discover(scenarios).unwrap();
        assert!(files.is_sorted());
        assert!(files.iter().any(|file| file.starts_with(scenarios.join("corpus"))));
        assert!(files.iter().all(|file| !file.starts_with(scenarios.join("invalid"))));
        assert!(files.iter().all(|file| file.file_name().unwrap() != "Cargo.toml"));
        assert!(!files.contains(&scenarios.join("matrix/guarantees.toml")), "no scenario");
        assert!(files.contains(&scenarios.join("matrix/log.toml")), "one of its rows");
        let one = &files[0];
        assert_eq!(&discover(one).unwrap(), std::slice::from_ref(one));
    }

    #[test]
    fn a_path_without_scenarios_says_so() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/parse");
        let text = discover(&source).unwrap_err().render(false);
        assert!(text.contains("there are no scenarios"), "{text}");
        let text = discover(&source.join("nowhere")).unwrap_err().render(false);
        assert!(text.contains("oncesim new"), "{text}");
    }
}
