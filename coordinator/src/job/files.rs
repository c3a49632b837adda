//! Files by glob, for groups with the `files` adapter: a walk of the tree in a stable order. Hidden folders are
//! entered only where a glob names them; links to folders are not followed.

use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use crate::error::Error;

/// The files under `root` that match a glob, sorted, relative to `root`.
///
/// # Errors
/// A glob is wrong, a folder cannot be read, a name is not UTF-8, or nothing matches.
pub fn matching(group: &str, root: &Path, patterns: &[String]) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    for pattern in patterns {
        let clean = pattern.strip_prefix("./").unwrap_or(pattern);
        let matcher = GlobBuilder::new(clean)
            .literal_separator(true)
            .build()
            .map_err(|e| Error::Usage(format!("group `{group}`: {e}")))?
            .compile_matcher();
        // a walk may begin where the first wildcard stands
        let fixed: PathBuf = Path::new(clean).parent().map_or_else(PathBuf::new, fixed_part);
        let hidden = clean.contains("/.") || clean.starts_with('.');
        walk(root, &fixed, &matcher, hidden, &mut found)?;
    }
    found.sort();
    found.dedup();
    if found.is_empty() {
        let named = patterns.iter().map(|p| format!("`{p}`")).collect::<Vec<_>>().join(" or ");
        let patterns = if named.is_empty() { "an empty list of globs".to_owned() } else { named };
        return Err(Error::NothingMatched { group: group.to_owned(), root: root.to_owned(), patterns });
    }
    Ok(found)
}

fn fixed_part(path: &Path) -> PathBuf {
    path.components().take_while(|c| !c.as_os_str().to_string_lossy().contains(['*', '?', '[', '{'])).collect()
}

fn walk(root: &Path, inside: &Path, matcher: &GlobMatcher, hidden: bool, found: &mut Vec<String>) -> Result<(), Error> {
    let entries = match std::fs::read_dir(root.join(inside)) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(());
        }
        Err(error) => return Err(Error::io(format!("read the folder {}", root.join(inside).display()), error)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| Error::io(format!("read the folder {}", root.join(inside).display()), e))?;
        let name = entry.file_name();
        let path = inside.join(&name);
        let kind = entry.file_type().map_err(|e| Error::io(format!("look at {}", path.display()), e))?;
        let dotted = name.as_encoded_bytes().first() == Some(&b'.');
        if kind.is_dir() {
            if name != ".git" && (hidden || !dotted) {
                walk(root, &path, matcher, hidden, found)?;
            }
        } else if matcher.is_match(&path) {
            let text = path.to_str().ok_or_else(|| {
                Error::Usage(format!(
                    "the file name {} is not UTF-8; rename it, or leave it out of the glob",
                    path.to_string_lossy().escape_debug()
                ))
            })?;
            found.push(text.to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Exit;
    use std::os::unix::ffi::OsStrExt as _;

    fn tree() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for file in [
            "spec/b_spec.rb",
            "spec/a_spec.rb",
            "spec/deep/er/c_spec.rb",
            "spec/helper.rb",
            ".git/x_spec.rb",
            ".hidden/h_spec.rb",
        ] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        dir
    }

    fn find(dir: &Path, pattern: &str) -> Result<Vec<String>, Error> {
        matching("legacy", dir, &[pattern.to_owned()])
    }

    #[test]
    fn files_come_sorted_and_stars_stay_in_their_folder() {
        let dir = tree();
        assert_eq!(
            find(dir.path(), "spec/**/*_spec.rb").unwrap(),
            ["spec/a_spec.rb", "spec/b_spec.rb", "spec/deep/er/c_spec.rb"]
        );
        assert_eq!(find(dir.path(), "./spec/*_spec.rb").unwrap(), ["spec/a_spec.rb", "spec/b_spec.rb"]);
        assert_eq!(find(dir.path(), "**/h_spec.rb").unwrap_err().exit(), Exit::NothingSelected);
        assert_eq!(find(dir.path(), ".hidden/*.rb").unwrap(), [".hidden/h_spec.rb"]);
    }

    #[test]
    fn a_glob_that_matches_nothing_is_an_error_with_its_group() {
        let dir = tree();
        let error = find(dir.path(), "test/*.py").unwrap_err();
        let expected = format!(
            "error: group `legacy`: no file under {} matches `test/*.py`\n  hint: globs are relative",
            dir.path().display()
        );
        assert!(error.render().starts_with(&expected), "{}", error.render());
        assert_eq!(error.exit().code(), 5);
    }

    #[test]
    fn a_file_name_that_is_not_utf8_is_refused_by_name() {
        let dir = tree();
        std::fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"spec/\xff_spec.rb")), "").unwrap();
        let error = find(dir.path(), "spec/*_spec.rb").unwrap_err();
        assert_eq!(error.exit(), Exit::Usage);
        assert!(error.to_string().contains("is not UTF-8"), "{error}");
    }
}
