//! Components in text form, where no compiler would make such a thing.

/// A task whose `process` has this body, and whose core module has these further parts. The body's locals are the
/// flattened envelope; its result is the address of the call's result: 0 for "ok", 16 is free to be written to.
#[must_use]
pub fn task(body: &str, parts: &str) -> Vec<u8> {
    task_importing("", body, parts)
}

/// The text of the same.
#[must_use]
pub fn task_text(body: &str, parts: &str) -> String {
    linked("", "", "", body, parts)
}

/// The same, of a component with these imports.
#[must_use]
pub fn task_importing(imports: &str, body: &str, parts: &str) -> Vec<u8> {
    assemble(&linked(imports, "", "", body, parts))
}

/// A task that calls the host while the host asks it for memory for an envelope.
#[must_use]
pub fn task_that_calls_out_of_realloc() -> Vec<u8> {
    assemble(&linked(
        r#"(import "shardmill:task/coordinator@0.1.0" (instance $coordinator (export "commit" (func))))
            (core func $commit (canon lower (func $coordinator "commit")))
            (core instance $host (export "commit" (func $commit)))"#,
        r#"(with "host" (instance $host))"#,
        r#"(import "host" "commit" (func $commit))"#,
        "(i32.const 0)",
        "",
    ))
}

/// `outer` comes before the core module, which is instantiated `with` something and has its own imports.
fn linked(outer: &str, with: &str, imports: &str, body: &str, parts: &str) -> String {
    // Whoever imports something calls it whenever memory is asked for.
    let asking = if imports.is_empty() { "" } else { "(call $commit)" };
    format!(
        r#"(component
            {outer}
            (core module $code
                {imports}
                (memory (export "memory") 1)
                (global $next (mut i32) (i32.const 1024))
                (func (export "realloc") (param $old i32) (param $size i32) (param $align i32) (param $new i32)
                    (result i32) (local $at i32)
                    {asking}
                    ;; Begins anew when the page is full: no test looks at what was before.
                    (if (i32.gt_u (i32.add (global.get $next) (local.get $new)) (i32.const 65000))
                        (then (global.set $next (i32.const 1024))))
                    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 7)) (i32.const -8)))
                    (global.set $next (i32.add (local.get $at) (local.get $new)))
                    (local.get $at))
                {parts}
                (func (export "process") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i64) (result i32) {body}))
            (core instance $code (instantiate $code {with}))
            (type $envelope (record (field "source" u32) (field "sequence" string) (field "sub-sequence" u32)
                (field "key" (option string)) (field "message" (list u8)) (field "arrival-ms" u64)))
            (type $error (variant (case "retry" (option u32)) (case "reject" string) (case "fatal" string)
                (case "other" string)))
            (func $process (param "envelope" $envelope) (result (result (error $error)))
                (canon lift (core func $code "process") (memory (core memory $code "memory"))
                    (realloc (func $code "realloc"))))
            (instance $processor
                (export "envelope" (type $envelope))
                (export "task-error" (type $error))
                (export "process" (func $process)))
            (export "shardmill:task/processor@0.1.0" (instance $processor)))"#
    )
}

/// A small component that takes long and much memory to compile: a function whose many variables all meet again and
/// again.
#[must_use]
pub fn compile_bomb() -> Vec<u8> {
    let locals = 500;
    let mix: String =
        (1..locals).map(|i| format!("(local.set {i} (i32.add (local.get {i}) (local.get {})))", i - 1)).collect();
    let branches = format!("(if (local.get 0) (then {mix}))").repeat(100);
    let sum: String = (0..locals).map(|i| format!("(global.set 0 (local.get {i}))")).collect();
    assemble(&format!(
        "(component (core module (global (mut i32) (i32.const 0))
            (func (param i32) (local {}) {branches} {sum})))",
        "i32 ".repeat(locals)
    ))
}

/// A component that imports so many functions. Put together from bytes: the text of a hundred thousand takes minutes to
/// parse.
#[must_use]
pub fn importing_functions(count: u32) -> Vec<u8> {
    let mut imports = leb(count);
    for index in 0..count {
        let name = format!("i{index}");
        // A name without more, its length, the name; a function, of type 0.
        imports.push(0);
        imports.extend(leb(name.len() as u32));
        imports.extend(name.as_bytes());
        imports.extend([1, 0]);
    }
    let mut component = b"\0asm\x0d\0\x01\0".to_vec();
    // One type: a function without parameters and results.
    component.extend([7, 5, 1, 0x40, 0, 1, 0]);
    component.push(10);
    component.extend(leb(imports.len() as u32));
    component.extend(imports);
    component
}

/// A number as WebAssembly writes it.
#[must_use]
pub fn leb(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// The binary form.
///
/// # Panics
/// When the text is not right.
#[must_use]
pub fn assemble(text: &str) -> Vec<u8> {
    ::wat::parse_str(text).unwrap_or_else(|error| panic!("{error}"))
}
