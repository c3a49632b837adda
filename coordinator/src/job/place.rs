//! Where a run comes from: the tree, the project its history belongs to, who asks. Looks at the disk; decides nothing.

use std::path::{Path, PathBuf};

use nix::unistd::{User, gethostname, getuid};
use remuda_protocol::spec::Tree;
use std::os::unix::fs::MetadataExt as _;

use crate::error::Error;

/// The tree at a folder.
///
/// # Errors
/// It cannot be looked at, or its path is not UTF-8.
pub fn tree(folder: &Path) -> Result<Tree, Error> {
    let meta = std::fs::metadata(folder).map_err(|e| Error::io(format!("look at {}", folder.display()), e))?;
    let path = folder.to_str().ok_or_else(|| {
        Error::Usage(format!(
            "the path of this folder is not UTF-8: {}; rename it, or run from another one",
            folder.to_string_lossy().escape_debug()
        ))
    })?;
    Ok(Tree { path: path.to_owned(), host: host(), mark: format!("{}:{}", meta.dev(), meta.ino()) })
}

/// This machine's name.
#[must_use]
pub fn host() -> String {
    gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_else(|| "localhost".into())
}

/// `user@host`, without the characters that have a meaning in Redis keys or events.
#[must_use]
pub fn submitter() -> String {
    let user = User::from_uid(getuid()).ok().flatten().map_or_else(|| getuid().to_string(), |user| user.name);
    format!("{user}@{}", host()).chars().map(|c| if c.is_whitespace() || c == ':' { '_' } else { c }).collect()
}

/// The key of the history: the remote and the place in the repository, else the folder's name.
#[must_use]
pub fn project(folder: &Path) -> String {
    let by_name = || folder.file_name().map_or_else(|| "root".into(), |name| name.to_string_lossy().into_owned());
    let Some(top) = folder.ancestors().find(|dir| dir.join(".git").exists()) else { return by_name() };
    let inside = folder.strip_prefix(top).unwrap_or(Path::new(""));
    let remote = git_folder(top)
        .and_then(|git| std::fs::read_to_string(git.join("config")).ok())
        .and_then(|config| remote_of(&config));
    match remote {
        Some(remote) if inside.as_os_str().is_empty() => normalise(&remote),
        Some(remote) => format!("{}/{}", normalise(&remote), inside.display()),
        None => by_name(),
    }
}

/// The folder with the configuration: of a linked worktree, that of the repository it belongs to.
fn git_folder(top: &Path) -> Option<PathBuf> {
    let git = top.join(".git");
    if git.is_dir() {
        return Some(git);
    }
    let text = std::fs::read_to_string(&git).ok()?;
    let linked = top.join(text.strip_prefix("gitdir:")?.trim());
    match std::fs::read_to_string(linked.join("commondir")) {
        Ok(common) => Some(linked.join(common.trim())),
        Err(_) => Some(linked),
    }
}

/// The address of `origin`, else of the first remote.
fn remote_of(config: &str) -> Option<String> {
    let mut section = "";
    let mut first = None;
    for line in config.lines().map(str::trim) {
        if line.starts_with('[') {
            section = line;
        } else if section.starts_with("[remote ")
            && let Some((key, url)) = line.split_once('=')
            && key.trim() == "url"
        {
            if section == "[remote \"origin\"]" {
                return Some(url.trim().to_owned());
            }
            first.get_or_insert(url.trim().to_owned());
        }
    }
    first
}

/// `https://user:token@Host/org/repo.git` and `git@host:org/repo` both become `host/org/repo`.
fn normalise(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (authority, path) = match rest.find(['/', ':']) {
        Some(at) if !rest.starts_with('/') => (&rest[..at], &rest[at + 1..]),
        _ => ("", rest),
    };
    // a password may hold a colon: whoever has an @ before the first slash keeps only what follows it
    let (authority, path) = match rest.split('/').next().and_then(|head| head.rsplit_once('@')) {
        Some((_, host)) if !scheme.is_empty() => (host, rest.split_once('/').map_or("", |(_, path)| path)),
        _ => (authority.rsplit('@').next().unwrap_or(authority), path),
    };
    let host = authority.split(':').next().unwrap_or(authority).to_lowercase();
    let path = path.trim_matches('/');
    let path = path.strip_suffix(".git").unwrap_or(path);
    if host.is_empty() { path.to_owned() } else { format!("{host}/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_repository_has_one_key_however_it_was_cloned() {
        for url in [
            "https://Example.org/org/repo.git",
            "git@example.org:org/repo.git",
            "ssh://git@example.org/org/repo",
            "https://me:tok:en@example.org/org/repo/",
        ] {
            assert_eq!(normalise(url), "example.org/org/repo", "{url}");
        }
        assert_eq!(normalise("/srv/git/repo.git"), "srv/git/repo");
    }

    #[test]
    fn origin_wins_over_other_remotes() {
        let config = "[core]\n\turl = no\n[remote \"fork\"]\n\turl = a:x/y\n[remote \"origin\"]\n\turl = b:x/y\n";
        assert_eq!(remote_of(config), Some("b:x/y".into()));
        assert_eq!(remote_of("[remote \"fork\"]\nurl = a:x/y\n"), Some("a:x/y".into()));
    }

    #[test]
    fn a_folder_without_a_repository_is_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("suite");
        std::fs::create_dir(&folder).unwrap();
        assert_eq!(project(&folder), "suite");
        std::fs::create_dir_all(dir.path().join(".git")).unwrap();
        std::fs::write(dir.path().join(".git/config"), "[remote \"origin\"]\nurl = git@h:o/r.git\n").unwrap();
        assert_eq!(project(&folder), "h/o/r/suite");
    }
}
