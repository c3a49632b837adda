//! Where pytest's ids begin: they are relative to its rootdir, while its arguments are relative to the current folder.
//! Turns an id into the argument that names the same test here.
//!
//! Follows pytest's own search for the rootdir (its "Initialization: determining rootdir and inifile") as far as the
//! disk shows it, and believes it only where the test's file then exists; what it cannot tell stays as it is.

use std::path::{Component, Path, PathBuf};

/// Files that make a folder the rootdir, and what they must contain for it.
const INI: [(&str, &str); 6] = [
    ("pytest.toml", ""),
    ("pytest.ini", ""),
    (".pytest.ini", ""),
    ("pyproject.toml", "[tool.pytest"),
    ("tox.ini", "[pytest]"),
    ("setup.cfg", "[tool:pytest]"),
];

/// The argument for a test, in a folder in which pytest was called with these arguments.
#[must_use]
pub fn argument(folder: &Path, args: &[String], id: &str) -> String {
    let (file, rest) = id.find("::").map_or((id, ""), |at| id.split_at(at));
    let root = candidates(folder, args).into_iter().find(|root| root.join(file).exists());
    match root {
        Some(root) if root != folder => format!("{}{rest}", relative(&clean(&root.join(file)), folder).display()),
        _ => id.to_owned(),
    }
}

/// Folders that may be the rootdir, the likeliest first.
fn candidates(folder: &Path, args: &[String]) -> Vec<PathBuf> {
    let given = args.iter().zip(args.iter().skip(1).map(Some).chain([None]));
    let named = given.filter_map(|(word, next)| match word.split_once('=') {
        Some(("--rootdir", value)) => Some(value),
        _ => next.filter(|_| word == "--rootdir").map(String::as_str),
    });
    let mut found: Vec<PathBuf> = named.map(|root| clean(&folder.join(root))).collect();
    let start = start(folder, args);
    found.extend(start.ancestors().filter(|dir| has_ini(dir)).map(Path::to_path_buf));
    found.extend(start.ancestors().filter(|dir| dir.join("setup.py").exists()).map(Path::to_path_buf));
    found.extend(start.ancestors().map(Path::to_path_buf));
    found
}

/// The folder that everything which was named has in common; this one if nothing was.
fn start(folder: &Path, args: &[String]) -> PathBuf {
    let named = args.iter().filter(|word| !word.starts_with('-'));
    let paths = named.map(|word| clean(&folder.join(word.split("::").next().unwrap_or(word))));
    let folders = paths
        .filter(|path| path.exists())
        .map(|path| if path.is_dir() { path } else { path.parent().unwrap_or(folder).to_path_buf() });
    folders.reduce(|one, other| shared(&one, &other)).unwrap_or_else(|| folder.to_path_buf())
}

fn shared(one: &Path, other: &Path) -> PathBuf {
    one.components().zip(other.components()).take_while(|(a, b)| a == b).map(|(a, _)| a).collect()
}

fn has_ini(folder: &Path) -> bool {
    INI.iter().any(|(name, mark)| {
        let path = folder.join(name);
        if mark.is_empty() { path.is_file() } else { std::fs::read_to_string(path).is_ok_and(|t| t.contains(mark)) }
    })
}

/// Without `.` and `..`.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => _ = out.pop(),
            part => out.push(part),
        }
    }
    out
}

/// `path` as seen from `folder`; both absolute.
fn relative(path: &Path, folder: &Path) -> PathBuf {
    let common = shared(path, folder);
    let up = folder.components().count() - common.components().count();
    let down = path.strip_prefix(&common).unwrap_or(path);
    std::iter::repeat_n(Path::new(".."), up).chain([down]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn an_id_becomes_a_path_from_here() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path();
        for folder in ["sub/deep", "sub/sub", "own"] {
            std::fs::create_dir_all(top.join(folder)).unwrap();
        }
        for file in ["pytest.ini", "test_a.py", "sub/test_b.py", "sub/sub/test_b.py", "own/pytest.ini", "own/test_c.py"]
        {
            std::fs::write(top.join(file), "").unwrap();
        }
        let at = |folder: &str, args: &str, id: &str| argument(&top.join(folder), &words(args), id);
        assert_eq!(at("", "-q", "sub/test_b.py::t[a::b]"), "sub/test_b.py::t[a::b]");
        // the same path exists below this folder too
        assert_eq!(at("sub", "", "sub/test_b.py::t[3]"), "test_b.py::t[3]");
        assert_eq!(at("sub/deep", "../../test_a.py", "test_a.py::t"), "../../test_a.py::t");
        assert_eq!(at("", "own -x", "test_c.py::t"), "own/test_c.py::t");
        assert_eq!(at("sub", "--rootdir ../own ../own/test_c.py::t", "test_c.py::t"), "../own/test_c.py::t");
        assert_eq!(at("sub", "", "gone.py::t"), "gone.py::t");
    }
}
