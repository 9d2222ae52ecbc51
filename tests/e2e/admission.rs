//! Modules are compiled by a process of their own, once; what that costs too much is rejected and harms nobody.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shardmill::admit::compiler::Caps;
use shardmill::admit::{Admission, Rejected};
use shardmill_runtime::trial::Recent;
use shardmill_runtime::{ArtifactStore, Engine, HostMemory, Instance};
use shardmill_tests::guests::rust_guest;
use shardmill_tests::process::Process;
use shardmill_tests::wait::until;
use shardmill_tests::{bombs, instances, wat};
use tempfile::TempDir;

fn admission(directory: &Path) -> Admission {
    let store = ArtifactStore::open(&directory.join("modules")).unwrap();
    Admission::new(Engine::new().unwrap(), store, env!("CARGO_BIN_EXE_shardmill").into())
}

fn stored(directory: &TempDir) -> Vec<std::path::PathBuf> {
    let files = fs::read_dir(directory.path().join("modules")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_none_or(|extension| extension != "key")).collect()
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
    assert_eq!(again.module.version().name(), "other-name");

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
async fn every_check_rejects_a_module_that_is_not_a_task_with_the_same_words() {
    let directory = tempfile::tempdir().unwrap();
    let admission = admission(directory.path());
    let cut = fs::read(rust_guest("echo")).unwrap()[..20_000].to_vec();
    for (wasm, words) in [
        (b"\0asm\x01\0\0\0".to_vec(), "x is not a WebAssembly component: it is a core module"),
        (cut, "x is not a valid WebAssembly component: "),
        (wat::importing_functions(100), "x does not fit the contract shardmill:task@0.1.0:\n  - it imports `i0`"),
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
    let expected =
        format!("it performs worse than the running {}:\n  - it failed on 2 of 2 envelopes", running.version());
    assert!(worse.to_string().starts_with(&expected), "{worse}");
}

#[tokio::test]
async fn a_bomb_of_types_is_refused_in_a_few_lines_and_by_another_process_life_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let bomb = bombs::types(90_000, 15);
    for _ in 0..2 {
        let rejected = admission(directory.path()).admit("bomb", bomb.clone()).await.unwrap_err();
        let text = rejected.to_string();
        assert!(text.starts_with("bomb does not fit the contract") && text.len() < 10_000, "{} bytes", text.len());
        assert!(rejected.is_final());
        assert_eq!(rejected.problems().len(), 1);
    }
    assert!(stored(&directory).is_empty());
}

/// The case of record: 5 MB, a million globals, two hundred core instances, three gigabytes.
#[tokio::test]
async fn a_module_whose_instance_costs_gigabytes_is_rejected_before_one_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let admission = admission(directory.path());
    let wasm = bombs::globals("(i32.const 0)", 1_000_000, 200);
    assert!(wasm.len() < 6 << 20);
    // Compiled for all jobs: how much it may have is each job's own.
    let module = admission.admit("globals", wasm.clone()).await.unwrap().module;
    let spec = instances::spec(&Arc::default(), &[]);
    let rejected = admission.try_out(&module, &spec, None).await.unwrap_err();
    let text = rejected.to_string();
    assert!(
        text.contains("it does not start: an instance needs 305") && text.contains("of 201 core instances"),
        "{text}"
    );
    assert!(text.ends_with("it may have 256 MiB (task.memory.max.mb)"), "{text}");
    assert!(rejected.is_final());

    let again = admission.admit("globals", wasm).await.unwrap();
    assert!(again.compiled_in.is_none());
    assert_eq!(again.module.footprint(), module.footprint(), "kept with what was compiled");
}

/// A bomb that would take minutes; nobody waits for it.
#[tokio::test]
async fn a_bomb_of_one_job_does_not_hold_up_the_module_of_another() {
    let directory = tempfile::tempdir().unwrap();
    let caps = Caps { first_cpu: Duration::from_millis(500), ..Caps::default() };
    let admission = admission(directory.path()).with_caps(caps);
    let bombs: Vec<_> = (0..2)
        .map(|number| {
            let (admission, wasm) = (admission.clone(), bombs::compile_time(150 + number));
            tokio::spawn(async move { admission.admit("slow-bomb", wasm).await })
        })
        .collect();
    until("a bomb is being compiled", async || (!compilers("slow-bomb").is_empty()).then_some(())).await;
    for number in 0..3 {
        let small = wat::task("(i32.const 0)", &format!("(global i32 (i32.const {number}))"));
        let admitted = admission.admit("small", small).await.unwrap();
        assert!(admitted.compiled_in.is_some());
    }
    assert!(bombs.iter().all(|bomb| !bomb.is_finished()), "the bombs are still at it");
    for bomb in bombs {
        bomb.abort();
        drop(bomb.await);
    }
    until("nothing is compiled any more", async || (compilers("slow-bomb").is_empty()).then_some(())).await;
}

/// Its environment is empty, it gains no privileges, it may make few system calls, and it has no file of the host's.
#[tokio::test]
async fn a_compiler_has_nothing_but_its_module() {
    let directory = tempfile::tempdir().unwrap();
    // Inherited by every child that does not close it.
    let open = fs::File::open("/etc/hostname").or_else(|_| fs::File::open("/proc/version")).unwrap();
    rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
    let admission = admission(directory.path());
    let bomb = tokio::spawn(async move { admission.admit("confined-bomb", bombs::compile_time(150)).await });
    let status = |pid: u32| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let confined = |pid: &u32| status(*pid).contains("\nSeccomp:\t2\n");
    until("it is confined", async || (compilers("confined-bomb").iter().any(confined)).then_some(())).await;
    let pid = compilers("confined-bomb")[0];
    assert_eq!(fs::read(format!("/proc/{pid}/environ")).unwrap(), b"");
    assert!(status(pid).contains("\nNoNewPrivs:\t1\n"), "{}", status(pid));
    let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let mut files: Vec<String> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    assert_eq!(files, ["0", "1", "2"]);
    bomb.abort();
}

/// Whatever ends the host: it has no time to clean up.
#[tokio::test]
async fn a_compiler_ends_with_its_host() {
    let directory = tempfile::tempdir().unwrap();
    let module = directory.path().join("orphan-bomb.wasm");
    fs::write(&module, bombs::compile_time(150)).unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_shardmill"));
    command.arg("check").arg(&module).arg("--module-cache").arg(directory.path().join("modules"));
    let mut host = Process::start(&mut command, &directory.path().join("log"));
    until("it compiles", async || (!compilers("orphan-bomb").is_empty()).then_some(())).await;
    let compilers = compilers("orphan-bomb");
    host.crash();
    let gone = |pid: &u32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().is_empty();
    until("the compiler is gone, too", async || (compilers.iter().all(gone)).then_some(())).await;
}

#[tokio::test]
async fn a_compiler_is_killed_when_a_job_needs_its_memory_and_that_is_not_the_modules_fault() {
    let directory = tempfile::tempdir().unwrap();
    let memory = HostMemory::new(256 << 20);
    let engine = Engine::new().unwrap().with_memory(memory.clone());
    let store = ArtifactStore::open(&directory.path().join("modules")).unwrap();
    let admission = Admission::new(engine, store, env!("CARGO_BIN_EXE_shardmill").into());
    let large = admission.admit("large", wat::task("(i32.const 0)", "(memory 2400)")).await.unwrap().module;
    let bomb = {
        let admission = admission.clone();
        tokio::spawn(async move { admission.admit("evicted-bomb", bombs::compile_time(150)).await })
    };
    until("a bomb is being compiled", async || (!compilers("evicted-bomb").is_empty()).then_some(())).await;
    let instance = Instance::new(&large, &instances::spec(&Arc::default(), &[])).unwrap();
    let killed = bomb.await.unwrap().unwrap_err();
    assert!(!killed.is_final(), "{killed}");
    assert!(killed.to_string().starts_with("cannot compile evicted-bomb on this machine: "), "{killed}");
    until("it is gone", async || (compilers("evicted-bomb").is_empty()).then_some(())).await;
    assert!(memory.used() < 200 << 20);
    let refused = admission.admit("other", wat::task("(i32.const 0)", "(memory 2)")).await.unwrap_err();
    assert!(!refused.is_final() && refused.to_string().contains("the host's memory is used up"), "{refused}");
    drop(instance);
    admission.admit("other", wat::task("(i32.const 0)", "(memory 2)")).await.unwrap();
}

/// The processes that compile a module of this name: each test has its own.
fn compilers(name: &str) -> Vec<u32> {
    let flag = format!("--name={name}");
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let compiles = |pid: &u32| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).any(|part| part == flag.as_bytes())
    };
    processes.filter(compiles).collect()
}
