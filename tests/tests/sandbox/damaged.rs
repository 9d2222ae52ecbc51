//! Bytes that are nearly a component never do more than fail.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use shardmill_core::config::Limits;
use shardmill_runtime::{Engine, Instance, Outputs, TaskSpec};
use shardmill_tests::guests;
use shardmill_tests::instances::{process, spec};

use shardmill_tests::wat;

/// Loads and, if it is let in, runs. Whatever comes of it, it comes back.
fn survive(engine: &Engine, wasm: &[u8]) {
    let limits = Limits {
        call_timeout: Duration::from_millis(100),
        init_timeout: Duration::from_millis(100),
        memory_max_bytes: 16 << 20,
        ..Limits::default()
    };
    let spec = TaskSpec { limits, ..spec(&Arc::default(), &[]) };
    let Ok(module) = engine.load("damaged", wasm) else { return };
    let Ok(mut instance) = Instance::new(&module, &spec) else { return };
    let mut outputs = Outputs::default();
    if instance.init().is_ok()
        && let Err(failed) = process(&mut instance, ["some words", "more words"], &mut outputs)
    {
        assert!(failed.processed < 2 && !failed.error.to_string().is_empty());
    }
}

#[test]
fn half_a_component_is_not_valid() {
    let wasm = std::fs::read(guests::rust_guest("word-count")).unwrap();
    let error = Engine::new().unwrap().load("word-count", &wasm[..wasm.len() / 2]).unwrap_err().to_string();
    assert!(error.starts_with("word-count is not a valid WebAssembly component: "), "{error}");
}

proptest! {
    // The small component is compiled in a millisecond, the sample in a tenth of a second.
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_small_component_with_flipped_bits(flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 1..4)) {
        let mut wasm = wat::task("(i32.const 0)", "");
        for (at, bit) in flips {
            let at = at.index(wasm.len());
            wasm[at] ^= 1 << bit;
        }
        survive(&Engine::new().unwrap(), &wasm);
    }

    #[test]
    fn a_small_component_cut_short(keep in any::<prop::sample::Index>()) {
        let wasm = wat::task("(i32.const 0)", "");
        survive(&Engine::new().unwrap(), &wasm[..keep.index(wasm.len())]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_sample_with_a_flipped_bit(at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let mut wasm = std::fs::read(guests::rust_guest("word-count")).unwrap();
        let at = at.index(wasm.len());
        wasm[at] ^= 1 << bit;
        survive(&Engine::new().unwrap(), &wasm);
    }

    #[test]
    fn a_sample_cut_short(keep in any::<prop::sample::Index>()) {
        let wasm = std::fs::read(guests::rust_guest("word-count")).unwrap();
        survive(&Engine::new().unwrap(), &wasm[..keep.index(wasm.len())]);
    }
}
