//! Paths of which the operator named a part only.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn below_what_the_operator_named_no_link_is_followed_not_even_the_first_time() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir_all(path("real/sub")).unwrap();
    symlink("real", path("named")).unwrap();
    symlink("sub", path("real/link")).unwrap();
    let open = |name: &str| Destination::new(&path(name), &path("named")).and_then(|it| it.open(None));
    let opened = open("named/sub/out").unwrap();
    assert_eq!((opened.kind, opened.directory), (Kind::File, Some(fs::canonicalize(path("real/sub")).unwrap())));
    assert!(matches!(open("named/link/out"), Err(OpenError::Link(_))));
    assert!(matches!(open("named/none/out"), Err(OpenError::NoDirectory { .. })));
}

#[test]
fn a_path_names_a_file() {
    for path in ["/", "/tmp/..", "/tmp/a/.."] {
        assert!(matches!(Destination::new(Path::new(path), Path::new(path)), Err(OpenError::NoName)), "{path}");
    }
}
