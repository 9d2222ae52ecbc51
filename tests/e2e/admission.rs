//! Modules are compiled by a process of their own, once; what that costs too much is rejected and harms nobody.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shardmill::admit::compiler::Caps;
use shardmill::admit::{Admission, Rejected};
use shardmill_runtime::trial::Recent;
use shardmill_runtime::{ArtifactStore, Engine};
use shardmill_tests::guests::rust_guest;
use shardmill_tests::{instances, wat};
use tempfile::TempDir;

fn admission(directory: &Path) -> Admission {
    let store = ArtifactStore::open(&directory.join("modules")).unwrap();
    Admission::new(Engine::new().unwrap(), store, env!("CARGO_BIN_EXE_shardmill").into())
}

fn stored(directory: &TempDir) -> Vec<std::path::PathBuf> {
    fs::read_dir(directory.path().join("modules")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn a_module_is_compiled_once_and_again_when_its_file_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let wasm = fs::read(rust_guest("echo")).unwrap();
    let admission = admission(directory.path());
    let first = admission.admit("echo", wasm.clone()).await.unwrap();
    assert!(first.compiled_in.is_some());
    let again = admission.admit("other-name", wasm.clone()).await.unwrap();
    assert!(again.compiled_in.is_none(), "the content is what counts");
    assert_eq!(again.module.id().name(), "other-name");

    let file = stored(&directory).remove(0);
    let mut damaged = fs::read(&file).unwrap();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    // Not in place: the file is mapped.
    fs::remove_file(&file).unwrap();
    fs::write(&file, damaged).unwrap();
    assert!(admission.admit("echo", wasm.clone()).await.unwrap().compiled_in.is_some());
    let kept = stored(&directory);
    assert_eq!(kept.len(), 1, "the damaged one is gone: {kept:?}");
    assert!(admission.admit("echo", wasm).await.unwrap().compiled_in.is_none());
}

#[tokio::test]
async fn what_is_no_task_is_rejected_with_the_same_words_whoever_finds_out() {
    let directory = tempfile::tempdir().unwrap();
    let admission = admission(directory.path());
    let cut = fs::read(rust_guest("echo")).unwrap()[..20_000].to_vec();
    for (wasm, words) in [
        (b"\0asm\x01\0\0\0".to_vec(), "x is not a WebAssembly component: it is a core module"),
        (cut, "x is not a valid WebAssembly component: "),
        (wat::assemble("(component)"), "x does not fit the contract shardmill:task@0.1.0:\n  - it exports neither"),
    ] {
        let engine = Engine::new().unwrap();
        let here = engine.load("x", &wasm).unwrap_err().to_string();
        let rejected = admission.admit("x", wasm).await.unwrap_err();
        assert!(rejected.to_string().starts_with(words), "{rejected}");
        assert_eq!(rejected.to_string(), here);
        assert!(rejected.is_final());
    }
}

#[tokio::test]
async fn a_compile_bomb_is_rejected_for_its_time_or_its_memory_and_the_host_lives() {
    let directory = tempfile::tempdir().unwrap();
    let tight = |caps: Caps| admission(directory.path()).with_caps(caps);
    let caps = Caps::default();
    let bomb = wat::compile_bomb();

    let memory = tight(Caps { memory_bytes: 64 << 20, ..caps }).admit("bomb", bomb.clone()).await.unwrap_err();
    assert_eq!(memory.to_string(), "compiling bomb takes more than 64 MiB of memory");
    let cpu = tight(Caps { cpu: Duration::from_secs(1), ..caps }).admit("bomb", bomb.clone()).await.unwrap_err();
    assert_eq!(cpu.to_string(), "compiling bomb takes longer than 1 s");
    let wall = Caps { wall: Duration::from_millis(300), ..caps };
    let wall = tight(wall).admit("bomb", bomb).await.unwrap_err();
    assert!(matches!(wall, Rejected::Time { .. }), "{wall}");
    assert!(memory.is_final() && cpu.is_final() && wall.is_final());
    assert!(stored(&directory).is_empty());

    let fine = tight(caps).admit("echo", fs::read(rust_guest("echo")).unwrap()).await;
    fine.unwrap();
}

#[tokio::test]
async fn a_machine_that_cannot_compile_is_not_the_modules_fault() {
    let directory = tempfile::tempdir().unwrap();
    let store = ArtifactStore::open(&directory.path().join("modules")).unwrap();
    let admission = Admission::new(Engine::new().unwrap(), store, directory.path().join("no-such-program"));
    let failed = admission.admit("x", wat::assemble("(component)")).await.unwrap_err();
    assert!(failed.to_string().starts_with("cannot compile x on this machine: "), "{failed}");
    assert!(!failed.is_final());
}

#[tokio::test]
async fn a_module_is_tried_out_alone_and_beside_the_running_one() {
    let directory = tempfile::tempdir().unwrap();
    let admission = admission(directory.path());
    let module = async |name: &str, wasm| admission.admit(name, wasm).await.unwrap().module;
    let running = module("echo", fs::read(rust_guest("echo")).unwrap()).await;
    let trapping = module("bad", wat::task("unreachable", "")).await;
    let spec = instances::spec(&Arc::default(), &[]);
    let recent = || {
        let batch = instances::batch(["a", "b"]);
        vec![Recent { source: 0, range: 0..batch.len(), batch: Arc::new(batch) }]
    };
    admission.try_out(&trapping, &spec, None).await.unwrap();
    admission.try_out(&running, &spec, Some((running.clone(), recent()))).await.unwrap();
    let worse = admission.try_out(&trapping, &spec, Some((running.clone(), recent()))).await.unwrap_err();
    assert!(worse.is_final());
    let expected = format!("it is worse than the running {}:\n  - it failed on 2 of 2 envelopes", running.id());
    assert!(worse.to_string().starts_with(&expected), "{worse}");
}
