//! The command line of `nixfmt`: formats files in place, standard input to standard output, or checks.
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "Usage: nixfmt [--check] [FILE or DIRECTORY…]

Formats Nix files in place; without names, standard input to standard output.

  --check  write nothing; fail if a file is not formatted
";

fn main() -> ExitCode {
    let mut check = false;
    let mut paths = Vec::new();
    for argument in std::env::args_os().skip(1) {
        match argument.to_str() {
            Some("--check" | "-c") => check = true,
            Some("--help" | "-h") => return print(USAGE),
            Some("-") => {}
            Some(option) if option.starts_with('-') => {
                eprintln!("nixfmt: There is no option \"{option}\".");
                return ExitCode::from(2);
            }
            _ => paths.push(PathBuf::from(argument)),
        }
    }
    if paths.is_empty() {
        return format_input(check);
    }
    let mut good = true;
    for path in &paths {
        good &= format_path(path, check).unwrap_or_else(|error| {
            eprintln!("nixfmt: {}: {error}", path.display());
            false
        });
    }
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The formatted text, or the parser's message as a reader of `name` wants it.
fn format(source: &str, name: &str) -> io::Result<String> {
    nixfmt_rs::format(source)
        .map_err(|error| io::Error::other(nixfmt_rs::format_error(source, Some(name), &error)))
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nixfmt: Standard output cannot be written: {error}.");
            ExitCode::FAILURE
        }
    }
}

fn format_input(check: bool) -> ExitCode {
    let mut source = String::new();
    let formatted = io::stdin()
        .read_to_string(&mut source)
        .and_then(|_| format(&source, "<stdin>"));
    match formatted {
        Ok(text) if !check => print(&text),
        Ok(text) if text == source => ExitCode::SUCCESS,
        Ok(_) => {
            eprintln!("<stdin>: not formatted");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("nixfmt: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Formats a file, or every Nix file below a directory. The result says whether all was well.
fn format_path(path: &Path, check: bool) -> io::Result<bool> {
    if path.is_dir() {
        let mut entries = path.read_dir()?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        let mut good = true;
        for entry in entries {
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            let nix = entry.path().extension() == Some(OsStr::new("nix"));
            // A link such as Nix's `result` leads out of the tree.
            let kind = entry.file_type()?;
            if (kind.is_dir() && !hidden) || (kind.is_file() && nix) {
                good &= format_path(&entry.path(), check)?;
            }
        }
        return Ok(good);
    }
    let source = std::fs::read_to_string(path)?;
    let text = format(&source, &path.to_string_lossy())?;
    if text == source {
        return Ok(true);
    }
    if check {
        eprintln!("{}: not formatted", path.display());
        return Ok(false);
    }
    std::fs::write(path, text)?;
    Ok(true)
}
