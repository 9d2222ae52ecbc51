//! How an output goes on with a file that is there already. A crash leaves the last line unfinished; what it was part of
//! is processed again. Of a file that is certainly ours the rest of the line is cut; every other file is somebody's, and
//! loses nothing. Pure: what is found is the caller's to look at.

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId {
    pub device: u64,
    pub inode: u64,
    /// When it was made, where the file system knows: an inode is used again, by another file. In ns since 1970.
    pub born: Option<u64>,
}

/// What is kept of a file that was appended to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub file: FileId,
    /// From here on the lines are ours, apart from those of others that append.
    pub from: u64,
}

/// A file as it is found.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    pub file: FileId,
    /// Names that it has.
    pub links: u64,
    pub length: u64,
    /// The last bytes of it, as many as were looked at.
    pub tail: &'a [u8],
    /// Nobody else has it open for appending.
    pub is_alone: bool,
}

/// What is done before the first line is appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    Nothing,
    /// Cut the file to this length.
    Cut(u64),
    /// End somebody's line.
    Newline,
}

/// How every line of an output begins.
pub const LINE_BEGINS: &[u8] = b"{\"stream\":";

/// What is done with a file before the first line is appended to it.
#[must_use]
pub fn first(found: &Found<'_>, mark: Option<&Mark>) -> First {
    let unfinished = match found.tail.iter().rposition(|byte| *byte == b'\n') {
        Some(newline) => &found.tail[newline + 1..],
        None => found.tail,
    };
    if unfinished.is_empty() {
        return First::Nothing;
    }
    let begin = found.length.saturating_sub(unfinished.len() as u64);
    let begins_here = unfinished.len() < found.tail.len() || begin == 0;
    let is_like_ours = unfinished.starts_with(LINE_BEGINS) || LINE_BEGINS.starts_with(unfinished);
    let is_ours = mark.is_some_and(|mark| mark.file == found.file && begin >= mark.from);
    if is_ours && is_like_ours && begins_here && found.links == 1 && found.is_alone {
        First::Cut(begin)
    } else {
        First::Newline
    }
}

/// The mark of a file that has this length when the first line is about to be appended.
#[must_use]
pub fn mark(file: FileId, length: u64, before: Option<&Mark>) -> Mark {
    // One that is shorter than it was has been emptied by somebody.
    let goes_on = before.filter(|mark| mark.file == file && mark.from <= length);
    Mark { file, from: goes_on.map_or(length, |mark| mark.from) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: FileId = FileId { device: 1, inode: 2, born: Some(3) };
    const OURS: Mark = Mark { file: FILE, from: 10 };

    /// A file whose tail ends at this length.
    fn found(tail: &str, length: u64) -> Found<'_> {
        Found { file: FILE, links: 1, length, tail: tail.as_bytes(), is_alone: true }
    }

    #[test]
    fn a_file_that_ends_with_its_last_line_stays_as_it_is() {
        for tail in ["", "x\n", "\n", "{\"stream\":\"a\"}\n"] {
            assert_eq!(first(&found(tail, 100), Some(&OURS)), First::Nothing, "{tail}");
            assert_eq!(first(&found(tail, 100), None), First::Nothing, "{tail}");
        }
    }

    #[test]
    fn what_a_crash_left_of_our_line_is_cut_back_to_the_line_before() {
        for rest in ["{", "{\"str", "{\"stream\":", "{\"stream\":\"counts\",\"mess"] {
            let tail = format!("x\n{rest}");
            assert_eq!(first(&found(&tail, 100), Some(&OURS)), First::Cut(100 - rest.len() as u64), "{rest}");
        }
        let mine = Mark { from: 0, ..OURS };
        assert_eq!(first(&found("{\"stream\":", 10), Some(&mine)), First::Cut(0), "its first line");
    }

    #[test]
    fn nothing_is_cut_that_is_not_certainly_ours() {
        let tail = "x\n{\"stream\":\"a\"";
        let cut = found(tail, 100);
        assert!(matches!(first(&cut, Some(&OURS)), First::Cut(_)));
        let other = |file| Mark { file, ..OURS };
        for (what, found, mark) in [
            ("no mark", cut, None),
            ("another file", cut, Some(other(FileId { inode: 9, ..FILE }))),
            ("another device", cut, Some(other(FileId { device: 9, ..FILE }))),
            ("a file that got the inode of ours", cut, Some(other(FileId { born: Some(9), ..FILE }))),
            ("before our first line", cut, Some(Mark { from: 99, ..OURS })),
            ("a second name", Found { links: 2, ..cut }, Some(OURS)),
            ("somebody may be writing it", Found { is_alone: false, ..cut }, Some(OURS)),
            ("not our line", Found { tail: b"x\nroot:x:0:0", ..cut }, Some(OURS)),
            ("a line that begins before what was looked at", Found { tail: b"{\"stream\":", ..cut }, Some(OURS)),
        ] {
            assert_eq!(first(&found, mark.as_ref()), First::Newline, "{what}");
        }
    }

    #[test]
    fn a_mark_stays_where_it_began_for_as_long_as_the_file_is_the_same() {
        assert_eq!(mark(FILE, 0, None).from, 0);
        assert_eq!(mark(FILE, 50, None).from, 50, "an older file");
        assert_eq!(mark(FILE, 50, Some(&OURS)).from, 10);
        assert_eq!(mark(FILE, 5, Some(&OURS)).from, 5, "emptied meanwhile");
        assert_eq!(mark(FileId { inode: 9, ..FILE }, 50, Some(&OURS)).from, 50);
    }
}
