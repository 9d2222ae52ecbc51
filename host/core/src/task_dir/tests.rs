//! The machine against every way in which a file comes into a directory.

use std::collections::VecDeque;

use super::*;

/// A directory and what the machine makes of it. Files are read at once.
#[derive(Default)]
struct Directory {
    machine: TaskDir,
    now: Millis,
    files: BTreeMap<String, (Stamp, bool)>,
    told: Vec<(Millis, Action)>,
    reads: usize,
}

impl Directory {
    fn put(&mut self, name: &str, bytes: u64, inode: u64, is_whole: bool) {
        let stamp = Stamp { bytes, modified: u128::from(self.now) * 1_000_000, inode };
        self.files.insert(name.to_owned(), (stamp, is_whole));
    }

    fn until(&mut self, end: Millis) {
        if self.now == 0 {
            // The host is there before the file.
            self.machine.on(0, Event::Listed(BTreeMap::new()));
        }
        while self.now < end {
            self.now += LISTING_INTERVAL;
            let listing = self.files.iter().map(|(name, (stamp, _))| (name.clone(), *stamp)).collect();
            let mut actions = VecDeque::from(self.machine.on(self.now, Event::Listed(listing)));
            while let Some(action) = actions.pop_front() {
                match action {
                    Action::Read(file) => {
                        self.reads += 1;
                        let (stamp, is_whole) = self.files[&file];
                        let reading = if is_whole { Reading::Whole } else { Reading::CutShort };
                        let read = Event::Read { file, stamp: Some(stamp), reading };
                        actions.extend(self.machine.on(self.now, read));
                    }
                    told => self.told.push((self.now, told)),
                }
            }
        }
    }

    fn take(&mut self) -> Vec<Action> {
        self.told.drain(..).map(|(_, action)| action).collect()
    }
}

fn changed(name: &str) -> Action {
    Action::Changed(name.to_owned())
}

fn removed(name: &str) -> Action {
    Action::Removed(name.to_owned())
}

#[test]
fn a_file_is_taken_once_after_it_has_rested() {
    let mut directory = Directory::default();
    directory.put("a.wasm", 10, 1, true);
    assert!(!directory.machine.is_settled(), "nobody has looked");
    directory.until(250);
    assert!(!directory.machine.is_settled());
    directory.until(5_000);
    assert_eq!(directory.told, [(500, changed("a.wasm"))]);
    assert!(directory.machine.is_settled());
    assert_eq!(directory.reads, 1, "what has not changed is not read again");
}

#[test]
fn what_was_there_long_before_is_read_at_the_first_look() {
    let mut machine = TaskDir::default();
    let listing = |names: &[&str]| {
        let stamp = Stamp { bytes: 1, modified: 5_000_000_000, inode: 1 };
        Event::Listed(names.iter().map(|name| ((*name).to_owned(), stamp)).collect())
    };
    assert_eq!(machine.on(9_000, listing(&["a.wasm"])), [Action::Read("a.wasm".to_owned())]);
    assert_eq!(machine.on(9_250, listing(&["a.wasm", "b.wasm"])), [], "an old date says nothing of a copy");
}

#[test]
fn a_slow_copy_is_not_taken_while_it_grows() {
    let mut directory = Directory::default();
    for size in 1..40 {
        directory.put("a.wasm", size, 1, false);
        directory.until(size * 250);
    }
    assert_eq!(directory.reads, 0, "it never rested");
    directory.put("a.wasm", 40, 1, true);
    directory.until(12_000);
    assert_eq!(directory.take(), [changed("a.wasm")]);
}

#[test]
fn a_copy_that_stalls_in_the_middle_is_not_taken() {
    let mut directory = Directory::default();
    directory.put("a.wasm", 10, 1, false);
    directory.until(8_000);
    assert_eq!(directory.told, [], "it ends too early, and may still grow");
    directory.put("a.wasm", 20, 1, true);
    directory.until(9_000);
    assert_eq!(directory.take(), [changed("a.wasm")]);
}

#[test]
fn a_file_that_stays_cut_short_is_told_in_the_end() {
    let mut directory = Directory::default();
    directory.put("a.wasm", 10, 1, false);
    directory.until(30_000);
    let [(at, action)] = &directory.told[..] else { panic!("told {:?}", directory.told) };
    assert_eq!(*action, changed("a.wasm"));
    assert!((PATIENCE..PATIENCE + 1_000).contains(at), "told at {at}");
    assert!(directory.reads <= 10, "read {} times", directory.reads);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_read_again() {
    let mut machine = TaskDir::default();
    let stamp = |bytes| Stamp { bytes, modified: 0, inode: 1 };
    let listed = |bytes| Event::Listed(BTreeMap::from([("a.wasm".to_owned(), stamp(bytes))]));
    let read = |bytes| Event::Read { file: "a.wasm".to_owned(), stamp: Some(stamp(bytes)), reading: Reading::Whole };
    assert_eq!(machine.on(0, listed(1)), []);
    assert_eq!(machine.on(250, listed(1)), [Action::Read("a.wasm".to_owned())]);
    assert_eq!(machine.on(300, listed(1)), [], "it is being read");
    assert_eq!(machine.on(310, read(2)), [], "what was read is neither the old nor the new file");
    assert_eq!(machine.on(500, listed(2)), [], "it must rest again");
    assert_eq!(machine.on(560, listed(2)), [Action::Read("a.wasm".to_owned())]);
    assert_eq!(machine.on(570, read(2)), [changed("a.wasm")]);
}

#[test]
fn a_rename_over_the_name_is_a_change_even_with_size_and_time_the_same() {
    let mut directory = Directory::default();
    directory.put("a.wasm", 10, 1, true);
    directory.until(1_000);
    let (stamp, _) = directory.files["a.wasm"];
    directory.files.insert("a.wasm".to_owned(), (Stamp { inode: 2, ..stamp }, true));
    directory.until(2_000);
    assert_eq!(directory.take(), [changed("a.wasm"), changed("a.wasm")]);
}

#[test]
fn delete_and_copy_is_a_change_and_not_a_removal() {
    let mut directory = Directory::default();
    directory.put("a.wasm", 10, 1, true);
    directory.until(1_000);
    directory.files.clear();
    directory.until(2_500);
    directory.put("a.wasm", 11, 2, true);
    directory.until(9_000);
    assert_eq!(directory.take(), [changed("a.wasm"), changed("a.wasm")]);
}

#[test]
fn a_removal_is_told_once_and_the_file_may_come_back() {
    let mut directory = Directory::default();
    directory.put("a.wasm", 10, 1, true);
    directory.until(1_000);
    let (stamp, _) = directory.files["a.wasm"];
    directory.files.clear();
    directory.until(9_000);
    assert_eq!(directory.take(), [changed("a.wasm"), removed("a.wasm")]);
    directory.files.insert("a.wasm".to_owned(), (stamp, true));
    directory.until(10_000);
    assert_eq!(directory.take(), [changed("a.wasm")]);
}

/// Else a job would run for a moment with half of what was meant for it: on another lease table, for example.
#[test]
fn a_module_comes_after_its_properties_and_goes_before_them() {
    for (later, earlier) in [("a.wasm", "a.properties"), ("a.properties", "a.wasm")] {
        let mut directory = Directory::default();
        directory.put(earlier, 10, 1, true);
        directory.put(later, 10, 2, true);
        directory.until(1_000);
        assert_eq!(directory.take(), [changed("a.properties"), changed("a.wasm")]);
        // A listing may fall between the two.
        directory.files.remove(earlier);
        directory.until(1_250);
        directory.files.remove(later);
        directory.until(9_000);
        assert_eq!(directory.take(), [removed("a.wasm"), removed("a.properties")], "{earlier} goes first");
    }
}

#[test]
fn properties_that_go_alone_are_told_and_those_without_a_module_too() {
    let mut directory = Directory::default();
    directory.put("a.wasm", 10, 1, true);
    directory.put("a.properties", 10, 2, true);
    directory.put("b.properties", 10, 3, true);
    directory.until(1_000);
    directory.take();
    directory.files.remove("a.properties");
    directory.files.remove("b.properties");
    directory.until(9_000);
    assert_eq!(directory.take(), [removed("a.properties"), removed("b.properties")]);
}

#[test]
fn a_module_waits_for_its_properties_but_not_for_ever() {
    let mut directory = Directory::default();
    directory.put("a.wasm", 10, 1, true);
    let mut told = Vec::new();
    for second in 1..30 {
        directory.put("a.properties", second, 2, true);
        directory.until(second * 250);
        told.push(directory.take());
        directory.put("a.properties", second + 100, 2, true);
    }
    assert!(told.iter().all(Vec::is_empty), "they never rest: {told:?}");
    for second in 30..60 {
        directory.put("a.properties", second, 2, true);
        directory.until(second * 250);
    }
    let [(at, action)] = &directory.told[..] else { panic!("told {:?}", directory.told) };
    assert_eq!(*action, changed("a.wasm"));
    assert!((PATIENCE..PATIENCE + 1_000).contains(at), "told at {at}");
}

#[test]
fn a_file_that_goes_before_it_was_taken_is_nobodys_business() {
    let mut directory = Directory::default();
    directory.put("a.wasm", 10, 1, true);
    directory.until(250);
    directory.files.clear();
    directory.until(9_000);
    assert_eq!(directory.take(), []);
}

#[test]
fn a_file_that_goes_while_it_is_read_is_not_taken() {
    let mut machine = TaskDir::default();
    let listing = BTreeMap::from([("a.wasm".to_owned(), Stamp { bytes: 1, modified: 0, inode: 1 })]);
    machine.on(0, Event::Listed(listing.clone()));
    assert_eq!(machine.on(250, Event::Listed(listing)), [Action::Read("a.wasm".to_owned())]);
    assert_eq!(
        machine.on(300, Event::Read { file: "a.wasm".to_owned(), stamp: None, reading: Reading::Unreadable }),
        []
    );
    assert_eq!(machine.on(500, Event::Listed(BTreeMap::new())), []);
    assert_eq!(machine.on(2_500, Event::Listed(BTreeMap::new())), []);
}

/// A network file system fails for a while: the file does not change when it is back.
#[test]
fn a_file_that_cannot_be_read_is_told_and_read_again_until_it_can() {
    let mut machine = TaskDir::default();
    let stamp = Stamp { bytes: 1, modified: 0, inode: 1 };
    let listing = || Event::Listed(BTreeMap::from([("a.wasm".to_owned(), stamp)]));
    let read = |reading| Event::Read { file: "a.wasm".to_owned(), stamp: Some(stamp), reading };
    let (mut told, mut reads) = (Vec::new(), 0);
    for now in (0..60_000).step_by(250) {
        for action in machine.on(now, listing()) {
            assert_eq!(action, Action::Read("a.wasm".to_owned()));
            reads += 1;
            let reading = if now < 40_000 { Reading::Unreadable } else { Reading::Whole };
            told.extend(machine.on(now, read(reading)).into_iter().map(|action| (now, action)));
        }
    }
    let [(first, problem), (last, content)] = &told[..] else { panic!("told {told:?}") };
    assert_eq!((problem, content), (&changed("a.wasm"), &changed("a.wasm")));
    assert!((PATIENCE..PATIENCE + 1_000).contains(first), "it is told at {first}, once");
    assert!((40_000..51_000).contains(last), "it is taken at {last}");
    assert!(reads < 20, "read {reads} times");
}

#[test]
fn a_reading_that_hangs_is_shown_and_holds_up_no_other_file() {
    let mut machine = TaskDir::default();
    let stamp = Stamp { bytes: 1, modified: 0, inode: 1 };
    let listing = || Event::Listed(["a.wasm", "b.wasm"].map(|name| (name.to_owned(), stamp)).into());
    machine.on(0, listing());
    assert_eq!(machine.on(250, listing()), ["a.wasm", "b.wasm"].map(|name| Action::Read(name.to_owned())));
    let of_b = Event::Read { file: "b.wasm".to_owned(), stamp: Some(stamp), reading: Reading::Whole };
    assert_eq!(machine.on(300, of_b), [changed("b.wasm")]);
    assert_eq!(machine.slow(10_249).count(), 0);
    assert_eq!(machine.slow(10_250).collect::<Vec<_>>(), [("a.wasm", 250)]);
    assert_eq!(machine.on(10_250, listing()), [], "it is not read twice at a time");
    let of_a = Event::Read { file: "a.wasm".to_owned(), stamp: Some(stamp), reading: Reading::Whole };
    assert_eq!(machine.on(90_000, of_a), [changed("a.wasm")], "it is used when it is there");
    assert_eq!(machine.slow(90_000).count(), 0);
}

#[test]
fn what_copy_programs_and_editors_leave_is_of_no_interest() {
    for file in ["a.wasm", "word-count.wasm", "a.properties", "a.wasm.sha256"] {
        assert!(is_of_interest(file), "{file}");
    }
    for file in [".a.wasm", ".a.wasm.Xy12", "a.wasm.tmp", "a.wasm.part", "a.wasm~", "a.txt", ".wasm", "..data", "a"] {
        assert!(!is_of_interest(file), "{file}");
    }
}

#[test]
fn a_binary_that_ends_within_a_section_is_cut_short() {
    // The header of a component and two sections, of 3 and of 200 bytes.
    let mut whole = b"\0asm\x0d\0\x01\0".to_vec();
    whole.extend([0, 3, 1, 2, 3]);
    whole.extend([7, 0xc8, 0x01]);
    whole.extend([0; 200]);
    assert!(!is_cut_short(&whole));
    let borders = [8, 13];
    for length in 0..whole.len() {
        assert_eq!(is_cut_short(&whole[..length]), !borders.contains(&length), "{length} bytes");
    }
}

#[test]
fn what_is_not_webassembly_is_whole() {
    for bytes in [&b"\x7fELF and more"[..], b"hello", b"\0asm\x0d\0\x01\0\0\xff\xff\xff\xff\xff\xff\xff"] {
        assert!(!is_cut_short(bytes), "{bytes:?}");
    }
}
