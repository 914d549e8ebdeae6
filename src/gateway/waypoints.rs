//! Which names in the file system a configuration hangs on: its files, and every symbolic link on
//! the way to them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Links followed on the way to one file; what goes round in circles ends here (the kernel's own
/// limit).
const LINKS_MAX: usize = 40;

/// The names that lead to `files`, each absolute. A mounted `ConfigMap` is a link to `..data/file`,
/// and `..data` a link that is replaced as a whole.
pub(super) fn waypoints(files: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for file in files {
        follow(file, &mut found);
    }
    found
}

fn follow(file: &Path, found: &mut BTreeSet<PathBuf>) {
    let mut whole = absolute(file);
    for _ in 0..LINKS_MAX {
        let Some((link, next)) = first_link(&whole) else { break };
        found.insert(link);
        whole = absolute(&next);
    }
    found.insert(whole);
}

/// The first link on a path, and the path with that link replaced by what it points to.
fn first_link(path: &Path) -> Option<(PathBuf, PathBuf)> {
    let mut walked = PathBuf::new();
    let mut rest = path.components();
    while let Some(part) = rest.next() {
        walked.push(part);
        if let Ok(target) = std::fs::read_link(&walked) {
            let folder = walked.parent().unwrap_or(Path::new("/"));
            let next = folder.join(target).join(rest.as_path());
            return Some((walked, next));
        }
    }
    None
}

/// Without `.` and relative to nothing; a folder that is gone leaves the path as it is.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The folders in which these names stand: what must be watched to see them change.
pub(super) fn folders(waypoints: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    waypoints.iter().filter_map(|path| path.parent()).map(Path::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn points(file: &Path) -> BTreeSet<PathBuf> {
        waypoints(&BTreeSet::from([file.to_owned()]))
    }

    fn set<const N: usize>(paths: [PathBuf; N]) -> BTreeSet<PathBuf> {
        BTreeSet::from(paths)
    }

    #[test]
    fn a_mounted_config_map_hangs_on_its_links() {
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(folder.path()).unwrap();
        std::fs::create_dir(root.join("..1")).unwrap();
        std::fs::write(root.join("..1/np.yaml"), "").unwrap();
        symlink("..1", root.join("..data")).unwrap();
        symlink("..data/np.yaml", root.join("np.yaml")).unwrap();
        let found = points(&root.join("np.yaml"));
        assert_eq!(found, set([root.join("np.yaml"), root.join("..data"), root.join("..1/np.yaml")]));
        assert_eq!(folders(&found), set([root.clone(), root.join("..1")]));
        // a linked folder above it counts too
        symlink(&root, root.join("..1/here")).unwrap();
        let found = points(&root.join("..1/here/np.yaml"));
        assert!(found.contains(&root.join("..1/here")) && found.contains(&root.join("..1/np.yaml")));
    }

    #[test]
    fn plain_missing_and_circular_names_have_an_end() {
        let folder = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(folder.path()).unwrap();
        let plain = root.join("np.yaml");
        std::fs::write(&plain, "").unwrap();
        assert_eq!(points(&plain), set([plain.clone()]));
        assert_eq!(points(&root.join("./np.yaml")), set([plain]));
        assert_eq!(points(&root.join("none/np.yaml")), set([root.join("none/np.yaml")]));
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        assert_eq!(points(&root.join("a")), set([root.join("a"), root.join("b")]));
    }

    #[test]
    fn relative_names_are_those_of_the_working_folder() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(points(Path::new("Cargo.toml")), set([here.join("Cargo.toml")]));
    }
}
