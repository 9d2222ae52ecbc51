//! Small components that cost whoever looks at them out of proportion. Put together by hand: no compiler makes them.

use crate::wat;

/// A task whose function takes a type that is a tree of `2^doublings` records, each with a field whose name has so many
/// letters. Shared, and so small; written out it has `2^doublings * letters` bytes.
#[must_use]
pub fn types(letters: usize, doublings: u32) -> Vec<u8> {
    let name = "a".repeat(letters);
    let tuples: String =
        (1..=doublings).map(|level| format!("(type $t{level} (tuple $t{0} $t{0}))", level - 1)).collect();
    wat::assemble(&format!(
        r#"(component
            (core module $code
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) unreachable)
                (func (export "process") (param i32)))
            (core instance $code (instantiate $code))
            (type $t0 (record (field "{name}" u32)))
            {tuples}
            (func $process (param "envelope" $t{doublings})
                (canon lift (core func $code "process") (memory (core memory $code "memory"))
                    (realloc (func $code "realloc"))))
            (instance $processor (export "leaf" (type $t0)) (export "process" (func $process)))
            (export "shardmill:task/processor@0.1.0" (instance $processor)))"#
    ))
}

/// A component that imports an interface of WASI whose type is a tree of `2^doublings` instances without functions, so
/// that there is nothing in it that a linker would miss.
#[must_use]
pub fn imported_instances(doublings: u32) -> Vec<u8> {
    let levels: String = (1..=doublings)
        .map(|level| {
            let below = level - 1;
            format!(
                r#"(type $i{level} (instance
                    (alias outer 1 $i{below} (type $below))
                    (export "a" (instance (type $below))) (export "b" (instance (type $below)))))"#
            )
        })
        .collect();
    wat::assemble(&format!(
        r#"(component (type $i0 (instance)) {levels}
            (import "wasi:cli/environment@0.2.0" (instance (type $i{doublings}))))"#
    ))
}

/// A component that imports and exports things with names of so many letters, none of which a task has.
#[must_use]
pub fn names(letters: usize) -> Vec<u8> {
    let name = "n".repeat(letters);
    wat::assemble(&format!(
        r#"(component
            (import "{name}" (func))
            (import "shardmill:task/log@0.1.0" (instance (export "{name}" (func))))
            (instance $empty)
            (export "shardmill:{name}/a@1.0.0" (instance $empty)))"#
    ))
}

/// A task with this body that also has so many core instances of a module with so many globals. Bytes, because the text
/// of a million globals takes long to parse.
#[must_use]
pub fn globals(body: &str, count: u32, instances: u32) -> Vec<u8> {
    let mut section = wat::leb(count);
    for _ in 0..count {
        // `(global (mut i32) (i32.const 0))`
        section.extend([0x7f, 1, 0x41, 0, 0x0b]);
    }
    let mut module = b"\0asm\x01\0\0\0\x06".to_vec();
    module.extend(wat::leb(section.len() as u32));
    module.extend(section);
    let mut component = wat::task(body, "");
    // A core module: the second of the component.
    component.push(1);
    component.extend(wat::leb(module.len() as u32));
    component.extend(module);
    let mut section = wat::leb(instances);
    for _ in 0..instances {
        // Instantiate module 1 with no arguments.
        section.extend([0, 1, 0]);
    }
    component.push(2);
    component.extend(wat::leb(section.len() as u32));
    component.extend(section);
    component
}

/// A component that takes minutes to compile, of 12 bytes for each call: each function calls four hundred others through a
/// table, and all their results meet.
#[must_use]
pub fn compile_time(functions: u32) -> Vec<u8> {
    const CALLS: usize = 400;
    // local.get 0, local.get 0, call_indirect (type 0) (table 0), local.get 0, i32.add, local.set 0
    let call = [0x20, 0, 0x20, 0, 0x11, 0, 0, 0x20, 0, 0x6a, 0x21, 0];
    // No locals; the calls; local.get 0, end.
    let body = [&[0][..], &call.repeat(CALLS), &[0x20, 0, 0x0b]].concat();
    let sized = |bytes: &[u8]| [&wat::leb(bytes.len() as u32)[..], bytes].concat();
    let each = |part: &[u8]| [&wat::leb(functions)[..], &part.repeat(functions as usize)].concat();
    // (func (param i32) (result i32)), (table 10 funcref)
    let sections =
        [(1, vec![1, 0x60, 1, 0x7f, 1, 0x7f]), (3, each(&[0])), (4, vec![1, 0x70, 0, 10]), (10, each(&sized(&body)))];
    let mut module = b"\0asm\x01\0\0\0".to_vec();
    for (id, content) in sections {
        module.push(id);
        module.extend(sized(&content));
    }
    let mut component = b"\0asm\x0d\0\x01\0\x01".to_vec();
    component.extend(sized(&module));
    component
}
