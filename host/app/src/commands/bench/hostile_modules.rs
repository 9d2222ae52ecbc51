//! Modules that attack the host while it validates them, assembled byte by byte because no compiler produces them. Each
//! number yields other bytes, so that no result is cached.

/// Makes a module; each number yields other bytes.
type Make = fn(u32) -> Vec<u8>;

/// The attacks, by name, and the functions that make their modules.
pub(super) const WAYS: [(&str, Make); 3] =
    [("type bomb", type_bomb), ("globals bomb", globals_bomb), ("compile bomb", compile_bomb)];

const MODULE: &[u8] = b"\0asm\x01\0\0\0";
const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";

/// 90 KB with a function type that expands to 23 GB.
fn type_bomb(number: u32) -> Vec<u8> {
    doubled_types(number, 18)
}

fn doubled_types(number: u32, doublings: u8) -> Vec<u8> {
    let label = name(&"a".repeat(90_000 + number as usize % 1_000));
    let exported = |export: &str, kind: u8, index: u8| [&name(export)[..], &[kind, index]].concat();
    let core = [
        MODULE,
        // (func (param i32 i32 i32 i32) (result i32)), (func (param i32))
        &section(1, &[2, 0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 1, 0x7f, 0x60, 1, 0x7f, 0]),
        &section(3, &[2, 0, 1]),
        &section(5, &[1, 0, 1]),
        &section(7, &[&[3][..], &exported("m", 2, 0), &exported("r", 0, 0), &exported("p", 0, 1)].concat()),
        // unreachable
        &section(10, &[2, 3, 0, 0, 0x0b, 3, 0, 0, 0x0b]),
    ];
    let mut types = leb(u32::from(doublings) + 2);
    // (record (field LABEL u32))
    types.extend([&[0x72, 1][..], &label, &[0x79]].concat());
    for below in 0..doublings {
        // (tuple $below $below)
        types.extend([0x6f, 2, below, below]);
    }
    // (func (param "e" $last))
    types.extend([&[0x40, 1][..], &name("e"), &[doublings, 1, 0]].concat());
    let alias = |kind: u8, export: &str| [&[0, kind, 1, 0][..], &name(export)].concat();
    let inline = |export: &str, kind: u8| [&[0][..], &name(export), &[kind, 0]].concat();
    let interface = name("shardmill:task/processor@0.1.0");
    [
        COMPONENT,
        &section(1, &core.concat()),
        &section(2, &[1, 0, 0, 0]),
        &section(7, &types),
        &section(6, &[&[3][..], &alias(2, "m"), &alias(0, "r"), &alias(0, "p")].concat()),
        // (canon lift (core func 1) (memory 0) (realloc 0))
        &section(8, &[1, 0, 0, 1, 2, 3, 0, 4, 0, doublings + 1]),
        &section(5, &[&[1, 1, 2][..], &inline("leaf", 3), &inline("process", 1)].concat()),
        &section(11, &[&[1, 0][..], &interface, &[5, 0, 0]].concat()),
    ]
    .concat()
}

/// 5 MB whose instance needs 3 GB of globals.
fn globals_bomb(number: u32) -> Vec<u8> {
    const GLOBALS: u32 = 1_000_000;
    const INSTANCES: u32 = 200;
    let globals = GLOBALS - number % 1_000;
    // (global (mut i32) (i32.const 0))
    let module = [MODULE, &section(6, &[leb(globals), [0x7f, 1, 0x41, 0, 0x0b].repeat(globals as usize)].concat())];
    let instances = [leb(INSTANCES), [0, 0, 0].repeat(INSTANCES as usize)].concat();
    [COMPONENT, &section(1, &module.concat()), &section(2, &instances)].concat()
}

/// 750 KB that take minutes to compile.
fn compile_bomb(number: u32) -> Vec<u8> {
    const CALLS: usize = 400;
    let functions = 150 + number % 50;
    // local.get 0, local.get 0, call_indirect (type 0) (table 0), local.get 0, i32.add, local.set 0
    let call = [0x20, 0, 0x20, 0, 0x11, 0, 0, 0x20, 0, 0x6a, 0x21, 0];
    let body = [&[0][..], &call.repeat(CALLS), &[0x20, 0, 0x0b]].concat();
    let body = [leb(body.len() as u32), body].concat();
    let each = |part: &[u8]| [leb(functions), part.repeat(functions as usize)].concat();
    let module = [
        MODULE,
        &section(1, &[1, 0x60, 1, 0x7f, 1, 0x7f]),
        &section(3, &each(&[0])),
        &section(4, &[1, 0x70, 0, 10]),
        &section(10, &each(&body)),
    ];
    [COMPONENT, &section(1, &module.concat())].concat()
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [&[id][..], &leb(content.len() as u32), content].concat()
}

fn name(text: &str) -> Vec<u8> {
    [&leb(text.len() as u32)[..], text.as_bytes()].concat()
}

fn leb(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

#[cfg(test)]
mod tests {
    use shardmill_runtime::Engine;

    use super::*;

    /// Each attack reaches the contract check, as intended.
    #[test]
    fn they_are_valid_components_and_no_tasks() {
        let engine = Engine::new().expect("an engine");
        let error = engine.load("bomb", &globals_bomb(1)).expect_err("no task").to_string();
        assert!(error.starts_with("bomb does not fit the contract"), "{error:.300}");
        let error = engine.load("bomb", &doubled_types(1, 8)).expect_err("no task").to_string();
        assert!(error.contains("is `func(e: tuple<tuple<"), "{error:.300}");
    }
}
