//! Real files: what a crash, another program or another job left, and what is done with it.

#![allow(clippy::disallowed_methods, reason = "a test's threads and tasks end with it")]

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;
use std::sync::mpsc;

use super::*;

const LINE: &str = "{\"stream\":\"counts\",\"message\":\"new\"}\n";

struct Place {
    dir: tempfile::TempDir,
    records: Records,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let records = Records::in_directory(Some(dir.path().join("state/outputs")));
        Self { dir, records }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn open(&self, name: &str) -> Result<AppendedFile, OpenError> {
        AppendedFile::open(&self.path(name), &self.path(name), &self.records)
    }

    fn refused(&self, name: &str) -> String {
        self.open(name).map_or_else(|error| error.to_string(), |_| panic!("{name} is opened"))
    }

    /// Opens the file, writes one line, and says what is in it then.
    fn append(&self, name: &str) -> String {
        let mut file = self.open(name).unwrap_or_else(|error| panic!("{error}"));
        file.write("counts", None, b"new").unwrap();
        file.flush().unwrap();
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// What a crash leaves.
    fn tear(&self, name: &str, rest: &str) {
        let mut file = fs::OpenOptions::new().append(true).open(self.path(name)).unwrap();
        file.write_all(rest.as_bytes()).unwrap();
    }
}

#[test]
fn an_unfinished_line_of_ours_is_cut() {
    let place = Place::new();
    assert_eq!(place.append("out"), LINE);
    for rest in ["", "{", "{\"stream\":\"counts\",\"mess"] {
        let before = fs::read_to_string(place.path("out")).unwrap();
        place.tear("out", rest);
        assert_eq!(place.append("out"), before + LINE, "{rest:?}");
    }
}

#[test]
fn a_file_that_was_there_before_loses_nothing() {
    for (before, after) in
        [("", ""), ("a\nb\n", "a\nb\n"), ("a\nhalf", "a\nhalf\n"), ("{\"stream\":", "{\"stream\":\n")]
    {
        let place = Place::new();
        fs::write(place.path("out"), before).unwrap();
        assert_eq!(place.append("out"), format!("{after}{LINE}"), "{before:?}");
        // From then on it is gone on with as one of ours, behind what was there.
        place.tear("out", "{\"stream\":\"cou");
        assert_eq!(place.append("out"), format!("{after}{LINE}{LINE}"), "{before:?}");
    }
}

#[test]
fn another_file_under_the_name_of_ours_loses_nothing() {
    let place = Place::new();
    place.append("out");
    fs::write(place.path("theirs"), "{\"stream\":\"a\"}\n{\"stream\":\"half").unwrap();
    fs::rename(place.path("theirs"), place.path("out")).unwrap();
    assert_eq!(place.append("out"), format!("{{\"stream\":\"a\"}}\n{{\"stream\":\"half\n{LINE}"));
}

#[test]
fn what_others_append_to_our_file_is_not_cut() {
    let place = Place::new();
    place.append("out");
    place.tear("out", "a note without an end");
    assert_eq!(place.append("out"), format!("{LINE}a note without an end\n{LINE}"));
}

#[test]
fn a_file_with_a_second_name_is_not_cut() {
    let place = Place::new();
    place.append("out");
    fs::hard_link(place.path("out"), place.path("precious")).unwrap();
    place.tear("out", "{\"stream\":");
    assert_eq!(place.append("out"), format!("{LINE}{{\"stream\":\n{LINE}"));
}

#[test]
fn without_records_nothing_is_cut() {
    let mut place = Place::new();
    place.records = Records::default();
    place.append("out");
    place.tear("out", "{\"stream\":");
    assert_eq!(place.append("out"), format!("{LINE}{{\"stream\":\n{LINE}"));
}

#[test]
fn a_damaged_record_is_none() {
    let place = Place::new();
    place.append("out");
    let record = place.records.file(&place.path("out"));
    for text in ["", "{}", "\0", "{\"path\":\"/\"}"] {
        fs::write(&record, text).unwrap();
        place.append("out");
    }
    place.tear("out", "{\"stream\":");
    assert!(!place.append("out").contains("{\"stream\":\n"), "the last opening wrote a good one");
}

#[test]
fn no_link_is_followed_that_was_put_on_the_way_later() {
    let place = Place::new();
    fs::create_dir_all(place.path("a/b")).unwrap();
    fs::create_dir(place.path("elsewhere")).unwrap();
    let victim = place.path("elsewhere/out");
    fs::write(&victim, "theirs").unwrap();
    place.append("a/b/out");

    // The file.
    fs::rename(place.path("a/b/out"), place.path("kept")).unwrap();
    symlink(&victim, place.path("a/b/out")).unwrap();
    assert!(place.refused("a/b/out").contains("a symbolic link, which is not followed"));
    fs::remove_file(place.path("a/b/out")).unwrap();
    // Its directory, and the one above.
    for (name, target) in [("a/b", "../elsewhere"), ("a", "elsewhere-as-a")] {
        fs::rename(place.path(name), place.path("moved")).unwrap();
        symlink(target, place.path(name)).unwrap();
        fs::create_dir_all(place.path("elsewhere-as-a")).unwrap();
        drop(symlink("../elsewhere", place.path("elsewhere-as-a/b")));
        let told = place.refused("a/b/out");
        assert!(told.contains("somebody changed a link on the way; if it is meant, remove "), "{told}");
        assert!(told.contains("elsewhere"), "{told}");
        fs::remove_file(place.path(name)).unwrap();
        fs::rename(place.path("moved"), place.path(name)).unwrap();
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "theirs");
    assert_eq!(place.append("a/b/out"), LINE, "a directory in the place of the directory is no link");
}

#[test]
fn a_link_that_the_operator_has_on_the_way_is_followed_for_as_long_as_it_leads_there() {
    let place = Place::new();
    for directory in ["disk1", "disk2"] {
        fs::create_dir(place.path(directory)).unwrap();
    }
    symlink("disk1", place.path("data")).unwrap();
    place.append("data/out");
    assert_eq!(place.append("data/out"), format!("{LINE}{LINE}"));
    fs::remove_file(place.path("data")).unwrap();
    symlink("disk2", place.path("data")).unwrap();
    let told = place.refused("data/out");
    let record = place.records.file(&place.path("data/out"));
    assert!(told.contains(&record.display().to_string()), "{told}");
    fs::remove_file(record).unwrap();
    assert_eq!(place.append("data/out"), LINE);
    assert!(place.path("disk2/out").exists());
}

#[test]
fn what_is_no_file_is_opened_if_lines_can_be_written_to_it_and_else_refused() {
    let place = Place::new();
    for device in ["/dev/null", "/dev/stdout"] {
        let mut file = AppendedFile::open(Path::new(device), Path::new(device), &place.records)
            .unwrap_or_else(|error| panic!("{error}"));
        if device == "/dev/null" {
            file.write("counts", None, b"new").unwrap();
        }
        file.flush().unwrap();
    }
    fs::create_dir(place.path("directory")).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(place.path("socket")).unwrap();
    assert!(place.refused("directory").contains("is a directory; an output is a file"));
    assert!(place.refused("socket").contains("is a socket; an output is a file"));
    assert!(place.refused("none/out").contains("no directory"));
    assert!(AppendedFile::open(Path::new("/"), Path::new("/"), &place.records).is_err());
}

#[test]
fn a_pipe_is_written_to_where_somebody_reads_it_and_is_not_waited_for() {
    let place = Place::new();
    assert!(Command::new("mkfifo").arg(place.path("pipe")).status().unwrap().success());
    assert!(place.refused("pipe").contains("a pipe that no program reads"));
    let path = place.path("pipe");
    let (begun, wait) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        // Opened for both, so that it does not wait for the writer.
        let mut pipe = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        begun.send(()).unwrap();
        let mut text = vec![0; LINE.len()];
        pipe.read_exact(&mut text).unwrap();
        String::from_utf8(text).unwrap()
    });
    wait.recv().unwrap();
    let mut file = place.open("pipe").unwrap_or_else(|error| panic!("{error}"));
    file.write("counts", None, b"new").unwrap();
    file.flush().unwrap();
    assert_eq!(reader.join().unwrap(), LINE);
}

#[test]
fn a_new_file_has_the_rights_of_any_other() {
    let place = Place::new();
    place.append("out");
    fs::write(place.path("other"), "").unwrap();
    let mode = |name: &str| fs::metadata(place.path(name)).unwrap().permissions().mode();
    assert_eq!(mode("out"), mode("other"));
}

/// A second job that opens the file must not take what is half written for what a crash left.
#[test]
fn a_file_that_jobs_share_holds_whole_lines_at_any_time() {
    let place = Place::new();
    let path = place.path("out");
    let mut first = place.open("out").unwrap_or_else(|error| panic!("{error}"));
    for _ in 0..2_000 {
        first.write("counts", None, &[b'x'; 100]).unwrap();
        let so_far = fs::read(&path).unwrap();
        assert!(so_far.is_empty() || so_far.ends_with(b"\n"), "half a line after {} bytes", so_far.len());
    }
    let mut second = place.open("out").unwrap_or_else(|error| panic!("{error}"));
    second.write("counts", None, b"of the second").unwrap();
    drop((first, second));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 2_001);
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}

/// The other one is in the middle of a line, and ends it while this one looks.
#[test]
fn a_line_that_another_writer_has_not_finished_is_waited_for_and_not_cut() {
    let place = Place::new();
    let mut first = place.open("out").unwrap_or_else(|error| panic!("{error}"));
    let line = "{\"stream\":\"counts\",\"message\":\"of the first\"}\n";
    let (begun, rest) = line.split_at(20);
    place.tear("out", begun);
    let opening = std::thread::scope(|scope| {
        let opening = scope.spawn(|| place.append("out"));
        place.tear("out", rest);
        opening.join().unwrap()
    });
    assert_eq!(opening, format!("{line}{LINE}"));
    first.flush().unwrap();
}
