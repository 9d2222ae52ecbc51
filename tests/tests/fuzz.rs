//! The fuzz targets with seeded inputs: good ones, changed a little and a lot, and bytes of any kind. `SEEDS=17` or
//! `SEEDS=0..100000` plays chosen ones. A fuzzer goes further: see `tests/fuzz/README.md`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use shardmill_tests::dice::{Dice, histories};
use shardmill_tests::fuzz::{TARGETS, Target};

/// The longest input. A configuration of so many bytes may have hundreds of mistakes, and takes its time.
const LENGTH_MAX: u64 = 1_500;
/// What parsers stumble over.
const AWKWARD: [&[u8]; 12] = [
    b"\0",
    b"\n",
    b"\\",
    b"=",
    b"\xff\xfe",
    b"\xe2\x80\xae",
    b"\x1b[2J",
    b"18446744073709551616",
    b"-1",
    b"{",
    b"\"",
    b"[[[[[[[[",
];

#[test]
fn no_input_makes_a_reader_panic_or_say_too_much() {
    for Target { name, run, seeds } in TARGETS {
        let seeds = seeds();
        seeds.iter().for_each(|seed| run(seed));
        histories(0..250, |seed| {
            let mut dice = Dice::new(seed ^ name.len() as u64);
            run(&input(&mut dice, &seeds));
        });
    }
}

/// A seed with some changes, or anything.
fn input(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    if dice.chance(15) {
        let length = dice.below(LENGTH_MAX);
        return (0..length).map(|_| byte(dice)).collect();
    }
    let mut input = dice.pick(seeds).cloned().unwrap_or_default();
    for _ in 0..=dice.below(8) {
        change(dice, &mut input, seeds);
    }
    input.truncate(LENGTH_MAX as usize);
    input
}

fn change(dice: &mut Dice, input: &mut Vec<u8>, seeds: &[Vec<u8>]) {
    let at = dice.index(input.len() + 1);
    match dice.below(6) {
        0 if at < input.len() => input[at] = byte(dice),
        1 if at < input.len() => input[at] ^= 1 << dice.below(8),
        2 => input.truncate(at),
        3 => {
            let piece: Vec<u8> = dice.pick(&AWKWARD).map(|piece| piece.to_vec()).unwrap_or_default();
            let times = 1 + dice.index(20);
            input.splice(at..at, piece.repeat(times));
        }
        4 => {
            let other = dice.pick(seeds).cloned().unwrap_or_default();
            let from = dice.index(other.len() + 1);
            input.splice(at.., other[from..].iter().copied());
        }
        _ => {
            // The same again, as a line or an attribute twice.
            let end = at + dice.index(input.len() - at + 1);
            let piece = input[at..end].to_vec();
            input.splice(at..at, piece);
        }
    }
}

fn byte(dice: &mut Dice) -> u8 {
    u8::try_from(dice.below(256)).unwrap()
}
