//! Files that commands leave behind: whole or not at all.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::exit::Refusal;

/// Why a file operation failed, in a few words, without the number of the error.
pub(crate) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::StorageFull => "no room left on the device".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "the file system is read-only".to_owned(),
        io::ErrorKind::NotADirectory => "a part of the path is not a folder".to_owned(),
        _ => {
            let text = error.to_string();
            text.split(" (os error").next().unwrap_or_default().to_lowercase()
        }
    }
}

/// Makes sure that `folder` exists and takes files, before a campaign spends its time.
pub(crate) fn ensure_writable(folder: &Path) -> Result<(), Refusal> {
    if folder.exists() && !folder.is_dir() {
        return Err(Refusal::new(
            "counterexamples cannot be written: this is not a folder",
            folder.display().to_string(),
            "give a folder, new or old: --out DIR",
        ));
    }
    let tried = std::fs::create_dir_all(folder)
        .and_then(|()| tempfile::Builder::new().prefix(".oncesim").tempfile_in(folder))
        .and_then(|mut file| file.write_all(&[b'#'; 4096]).and_then(|()| file.flush()));
    tried.map_err(|error| {
        Refusal::new(
            format!("counterexamples cannot be written: {}", reason(&error)),
            folder.display().to_string(),
            "give a folder with room that you may write to: --out DIR",
        )
    })
}

/// Makes sure that `path` can become a file, before anything runs.
pub(crate) fn ensure_file(path: &Path, option: &str) -> Result<(), Refusal> {
    let refuse = |cause: String| {
        let fix =
            format!("name a file in a folder that exists and that you may write to: {option} FILE");
        Err(Refusal::new(cause, path.display().to_string(), fix))
    };
    // A device or a pipe would be replaced by the file, not written to.
    if path.is_dir() || path.file_name().is_none() {
        return refuse(format!("{option} wants a file, and this is a folder"));
    }
    if path.exists() && !path.is_file() {
        return refuse(format!("{option} wants a file, and this is something else"));
    }
    match temporary(path, "") {
        Ok(_) => Ok(()),
        Err(error) => refuse(format!("the file cannot be written: {}", reason(&error))),
    }
}

/// Makes sure that each of these can become a file, and no two the same, before anything runs.
pub(crate) fn ensure_files(files: &[(Option<&Path>, &str)]) -> Result<(), Refusal> {
    let mut seen: Vec<(PathBuf, &str)> = Vec::new();
    for (path, option) in files {
        let Some(path) = path else { continue };
        ensure_file(path, option)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new(".")).canonicalize().unwrap_or_default();
        let place = folder.join(path.file_name().unwrap_or_default());
        if let Some((_, other)) = seen.iter().find(|(known, _)| *known == place) {
            return Err(Refusal::new(
                "two results would go into one file",
                path.display().to_string(),
                format!("give {other} and {option} a file each"),
            ));
        }
        seen.push((place, option));
    }
    Ok(())
}

/// Writes `text` to `path`, replacing what was there.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Refusal> {
    temporary(path, text).and_then(|file| Ok(file.persist(path)?)).map_err(|error| {
        Refusal::new(
            format!("the file cannot be written: {}", reason(&error)),
            path.display().to_string(),
            "make room, or choose a folder that you may write to",
        )
    })?;
    Ok(())
}

/// Writes `text` to `path`, which must not exist.
pub(crate) fn write_new(path: &Path, text: &str) -> Result<(), Refusal> {
    let done = temporary(path, text).and_then(|file| Ok(file.persist_noclobber(path)?));
    done.map(drop).map_err(|error| {
        let place = path.display().to_string();
        if error.kind() == io::ErrorKind::AlreadyExists {
            Refusal::new("the file exists already", place, "choose another name")
        } else {
            let fix = "choose a folder that exists, has room, and that you may write to";
            Refusal::new(format!("the file cannot be written: {}", reason(&error)), place, fix)
        }
    })
}

/// A complete file beside `path`, under another name; gone unless it is persisted.
fn temporary(path: &Path, text: &str) -> io::Result<tempfile::NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.prefix(".oncesim");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
    let mut file = builder.tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.flush()?;
    Ok(file)
}
