//! Admission of components that were made to harm: whatever they are, nothing panics, and what is said is short.

use std::sync::Arc;
use std::time::Duration;

use shardmill_core::config::Limits;
use shardmill_runtime::{Engine, Instance, TaskSpec};
use shardmill_tests::hostile_components::component;
use shardmill_tests::instances::spec;

/// More of them: `ADMISSION_SEEDS=1000..50000`.
const SEEDS: std::ops::Range<u64> = 0..150;

/// Longer than any reason may be, with what is around it.
const REASON_MAX: usize = 10 << 10;

#[test]
fn no_component_makes_admission_panic_or_talk_much() {
    let engine = Engine::new().unwrap();
    let (mut refused, mut admitted) = (0, 0);
    for seed in seeds() {
        let wasm = component(seed);
        match engine.load("hostile", &wasm) {
            Err(error) => {
                refused += 1;
                let (text, message) = (error.to_string(), error.to_message());
                assert!(text.len() < REASON_MAX && message.len() < 2 * REASON_MAX, "seed {seed}: {} bytes", text.len());
                assert!(!text.contains('\u{1b}'), "seed {seed}: {text:?}");
            }
            Ok(module) => {
                admitted += 1;
                let names = module.imports().iter().chain(module.exports());
                assert!(names.map(String::len).sum::<usize>() < 1 << 18, "seed {seed}");
                let limits = Limits { init_timeout: Duration::from_millis(200), ..Limits::default() };
                let spec = TaskSpec { limits, ..spec(&Arc::default(), &[]) };
                let made = Instance::new(&module, &spec).and_then(|mut instance| instance.init());
                let text = made.err().map(|error| error.to_string()).unwrap_or_default();
                assert!(text.len() < REASON_MAX, "seed {seed}: {} bytes", text.len());
            }
        }
    }
    assert!(refused > 0 && admitted > 0, "{refused} refused, {admitted} admitted: the generator makes one kind only");
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(range) = std::env::var("ADMISSION_SEEDS") else { return SEEDS };
    let (start, end) = range.split_once("..").expect("START..END");
    start.parse().expect("a number")..end.parse().expect("a number")
}
