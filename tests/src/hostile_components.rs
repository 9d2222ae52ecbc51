//! Makes components that nobody means well with, from a number: the same number makes the same component. They are well
//! formed as text, and mostly as components, so that they get beyond the parser; types are shared and doubled, names are
//! long or strange, indexes are off by one, parts are instantiated again and again. Some are damaged at the end.

/// A component of this seed.
#[must_use]
pub fn component(seed: u64) -> Vec<u8> {
    let mut dice = Dice(seed);
    let text = match dice.below(4) {
        0 => task(&mut dice),
        _ => random(&mut dice),
    };
    // What the generator got wrong is one of the inputs, too.
    let mut bytes = ::wat::parse_str(&text).unwrap_or_else(|_| text.clone().into_bytes());
    if dice.chance(25) {
        damage(&mut dice, &mut bytes);
    }
    bytes
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

fn damage(dice: &mut Dice, bytes: &mut Vec<u8>) {
    for _ in 0..=dice.below(8) {
        let at = dice.below(bytes.len() as u64) as usize;
        match dice.below(4) {
            0 => bytes[at] ^= 1 << dice.below(8),
            1 => bytes.truncate(at.max(8)),
            2 => bytes.insert(at, dice.below(256) as u8),
            _ => {
                let part: Vec<u8> = bytes[at..].iter().copied().take(64).collect();
                bytes.splice(at..at, part);
            }
        }
    }
}

/// A task whose parts are odd.
fn task(dice: &mut Dice) -> String {
    let body = dice.pick(&["unreachable", "(i32.const 0)", "(i32.const -1)", "(loop (br 0)) (i32.const 0)"]);
    let mut parts = String::new();
    for _ in 0..dice.below(4) {
        let part = match dice.below(4) {
            0 => format!("(table {} funcref)", dice.below(2_000_000)),
            1 => format!("(memory {})", dice.below(5_000)),
            2 => "(global (mut i64) (i64.const 0))".repeat(dice.below(2_000) as usize),
            _ => "(func $start unreachable) (start $start)".to_owned(),
        };
        parts.push_str(&part);
    }
    crate::wat::task_text(body, &parts)
}

fn random(dice: &mut Dice) -> String {
    let mut text = "(component ".to_owned();
    let types = types(dice, &mut text);
    for _ in 0..dice.below(4) {
        import(dice, &mut text, types);
    }
    nest(dice, &mut text);
    export(dice, &mut text, types);
    text.push(')');
    text
}

/// Types, each made of those before it. Returns how many.
fn types(dice: &mut Dice, text: &mut String) -> u64 {
    let count = dice.below(40);
    for index in 0..count {
        let mut of = || match (index, dice.below(3)) {
            (0, _) | (_, 0) => dice.pick(&["u8", "u32", "string", "f64", "bool", "char"]).to_owned(),
            // The one before most of the time, so that a chain of doublings grows.
            (_, 1) => format!("$t{}", index - 1),
            _ => format!("$t{}", dice.below(index)),
        };
        let (a, b) = (of(), of());
        let name = name(dice);
        let ty = match dice.below(9) {
            0 => format!(r#"(record (field "{name}" {a}) (field "b" {b}))"#),
            1 => format!(r#"(variant (case "{name}" {a}) (case "b" {b}))"#),
            2 => format!("(list {a})"),
            3 => format!("(option {a})"),
            4 => format!("(result {a} (error {b}))"),
            5 => format!(r#"(enum "{name}")"#),
            6 => format!(r#"(flags "{name}")"#),
            _ => format!("(tuple {a} {b})"),
        };
        text.push_str(&format!("(type $t{index} {ty})"));
    }
    count
}

fn some_type(dice: &mut Dice, types: u64) -> String {
    // Now and then one that is not there.
    if types == 0 || dice.chance(10) { "u32".to_owned() } else { format!("$t{}", dice.below(types + 1)) }
}

fn import(dice: &mut Dice, text: &mut String, types: u64) {
    let interface = dice.pick(&[
        "wasi:cli/environment@0.2.0",
        "wasi:http/types@0.2.99999999999999999999",
        "wasi:io/streams@0.3.0",
        "shardmill:task/config@0.1.0",
        "shardmill:task/collector@0.1.7",
        "shardmill:task/nothing@0.1.0",
    ]);
    let (item, ty) = (name(dice), some_type(dice, types));
    let item = if dice.chance(50) { "get".to_owned() } else { item };
    let imported = match dice.below(4) {
        0 => format!(r#"(import "{item}" (func (param "a" {ty})))"#),
        1 => format!(r#"(import "{interface}" (func))"#),
        2 => {
            let levels: String = (1..=dice.below(20))
                .map(|level| {
                    let below = level - 1;
                    format!(
                        r#"(type $i{level} (instance (alias outer 1 $i{below} (type $b))
                            (export "a" (instance (type $b))) (export "b" (instance (type $b)))))"#
                    )
                })
                .collect();
            let last = levels.matches("(type $i").count();
            format!(r#"(type $i0 (instance)) {levels} (import "{interface}" (instance (type $i{last})))"#)
        }
        _ => format!(r#"(import "{interface}" (instance (export "{item}" (func (result u32)))))"#),
    };
    text.push_str(&imported);
}

/// Components in components, each instantiated a few times.
fn nest(dice: &mut Dice, text: &mut String) {
    let globals = "(global (mut i32) (i32.const 0))".repeat(dice.below(100) as usize);
    let memory = dice.below(100);
    let mut inner = format!(
        "(component $c0 (core module $m (memory {memory}) (table {} funcref) {globals}) {})",
        dice.below(10_000),
        "(core instance (instantiate $m))".repeat(dice.below(4) as usize)
    );
    for level in 1..=dice.below(6) {
        let instances = format!("(instance (instantiate $c{}))", level - 1).repeat(dice.below(4) as usize);
        inner = format!("(component $c{level} {inner} {instances})");
    }
    text.push_str(&inner);
}

fn export(dice: &mut Dice, text: &mut String, types: u64) {
    let (interface, function) = match dice.below(5) {
        0 => ("shardmill:task/processor@0.1.0", "process"),
        1 => ("shardmill:task/batch-processor@0.1.0", "process-batch"),
        2 => ("shardmill:task/lifecycle@0.1.0", "init"),
        3 => ("shardmill:task/processor@9.9.9", "process"),
        _ => ("shardmill:task/windowing@0.1.0", "window"),
    };
    let ty = some_type(dice, types);
    let named: String = (0..types).map(|index| format!(r#"(export "t{index}" (type $t{index}))"#)).collect();
    let parameter = dice.pick(&["(param i32)", "(param i64)", "(param i32 i32)", "(param f64)", ""]);
    let result = dice.pick(&["", "(result i32)"]);
    text.push_str(&format!(
        r#"(core module $code (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
                (func (export "f") {parameter} {result} unreachable))
            (core instance $code (instantiate $code))
            (func $f (param "envelope" {ty}) (canon lift (core func $code "f")
                (memory (core memory $code "memory")) (realloc (func $code "realloc"))))
            (instance $exported {named} (export "{function}" (func $f)))
            (export "{interface}" (instance $exported))"#
    ));
}

/// A name, as long as a name may be now and then.
fn name(dice: &mut Dice) -> String {
    let letters = match dice.below(10) {
        0 => 99_000,
        1 => 5_000,
        _ => 1 + dice.below(12),
    };
    let letter = dice.pick(&["a", "b", "x-y", "z9"]);
    letter.repeat(letters as usize)
}
