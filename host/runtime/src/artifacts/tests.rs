//! The store returns what was stored, or nothing.

use std::os::unix::fs::PermissionsExt;

use sha2::Digest;
use tempfile::TempDir;

use super::*;
use crate::module::module_id;

/// A task; each number yields a different one.
fn component(number: u32) -> Vec<u8> {
    let text = format!(
        r#"(component
            (core module $code
                (memory (export "memory") 1)
                (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const {number}))
                (func (export "process") (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i64) (result i32) (i32.const 0)))
            (core instance $code (instantiate $code))
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
    );
    wat::parse_str(text).unwrap()
}

struct Fixture {
    directory: TempDir,
    engine: Engine,
    store: ArtifactStore,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = ArtifactStore::open(&directory.path().join("modules")).unwrap();
        Self { directory, engine: Engine::new().unwrap(), store }
    }

    fn put(&self, number: u32) -> VersionName {
        let wasm = component(number);
        let id = module_id(&wasm).of_job("x");
        self.store.put(&self.engine, &id, &self.engine.precompile("x", &wasm).unwrap()).unwrap();
        id
    }

    fn is_loaded(&self, id: &VersionName) -> bool {
        self.store.get(&self.engine, id).unwrap().is_some()
    }

    fn file(&self, id: &VersionName) -> PathBuf {
        let mut files = self.store.files(&prefix(&self.engine, id));
        assert_eq!(files.len(), 1);
        files.remove(0).path
    }
}

#[test]
fn a_stored_module_is_loaded_by_an_engine_of_a_later_process() {
    let it = Fixture::new();
    let id = it.put(1);
    assert!(it.is_loaded(&id));
    assert!(!it.is_loaded(&module_id(b"another").of_job("x")));
    let later = Fixture { engine: Engine::new().unwrap(), ..it };
    assert!(later.is_loaded(&id));
    let module = later.store.get(&later.engine, &id).unwrap().unwrap();
    assert_eq!(module.exports(), ["shardmill:task/processor@0.1.0"]);
    assert_eq!((module.footprint().core_instances, module.footprint().memories), (1, 1 << 16));
}

#[test]
fn a_file_with_any_changed_byte_or_truncated_is_removed() {
    let it = Fixture::new();
    let id = it.put(1);
    let whole = fs::read(it.file(&id)).unwrap();
    for at in [0, 20, whole.len() / 2, whole.len() - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        fs::write(it.file(&id), &damaged).unwrap();
        assert!(!it.is_loaded(&id), "byte {at}");
        assert!(it.store.files("").is_empty(), "byte {at}");
        it.put(1);
    }
    for keep in [0, 100, whole.len() - 1] {
        fs::write(it.file(&id), &whole[..keep]).unwrap();
        assert!(!it.is_loaded(&id), "{keep} bytes");
        it.put(1);
    }
    assert!(it.is_loaded(&id));
}

#[test]
fn a_file_of_another_component_or_engine_is_not_taken() {
    let it = Fixture::new();
    let (one, two) = (it.put(1), it.put(2));
    let (from, to) = (it.file(&two), it.file(&one));
    fs::copy(&from, &to).unwrap();
    assert!(!it.is_loaded(&one), "under the name of the old content");

    it.put(1);
    let name = it
        .file(&two)
        .file_name()
        .unwrap()
        .to_str()
        .unwrap()
        .replace(&two.module().to_string(), &one.module().to_string());
    remove(&it.file(&one));
    fs::copy(it.file(&two), it.store.directory().join(name)).unwrap();
    assert!(!it.is_loaded(&one), "with the digest of its own content");

    let foreign = prefix(&it.engine, &one);
    let seal = it.store.seal(&foreign, &mut &b"\x7fELF"[..]).unwrap();
    let path = it.store.directory().join(format!("{foreign}{seal}{SUFFIX}"));
    fs::write(&path, b"\x7fELF").unwrap();
    assert!(!it.is_loaded(&one) && !path.exists(), "correctly sealed, but not made by wasmtime");
}

/// An attacker who can write the directory and knows this program, but not the key, cannot make a file that runs.
#[test]
fn a_file_that_was_sealed_without_the_key_is_refused() {
    let it = Fixture::new();
    let (one, two) = (it.put(1), it.put(2));
    let forged = fs::read(it.file(&two)).unwrap();
    let name = prefix(&it.engine, &one);
    let keyless = hex::encode(&Sha256::new().chain_update(&name).chain_update(&forged).finalize());
    let other_key = ArtifactStore { key: [0; KEY_BYTES], ..it.store.clone() }.seal(&name, &mut &forged[..]).unwrap();
    for seal in [keyless, other_key] {
        remove(&it.file(&one));
        let path = it.store.directory().join(format!("{name}{seal}{SUFFIX}"));
        fs::write(&path, &forged).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(!it.is_loaded(&one) && !path.exists());
        it.put(1);
    }
    assert!(it.is_loaded(&one));
}

#[test]
fn the_key_is_random_private_and_stays() {
    let (one, two) = (Fixture::new(), Fixture::new());
    assert_ne!(one.store.key, two.store.key);
    let path = one.store.directory().join(KEY_FILE);
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    let again = ArtifactStore::open(one.store.directory()).unwrap();
    assert_eq!(again.key, one.store.key);
    assert!(!format!("{again:?}").contains("key"), "{again:?}");

    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let error = ArtifactStore::open(one.store.directory()).unwrap_err().to_string();
    assert!(error.contains("seal.key") && error.ends_with("mode 640: others may read or write it"), "{error}");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&path, "short").unwrap();
    let error = ArtifactStore::open(one.store.directory()).unwrap_err().to_string();
    assert!(error.ends_with("it must have 32 bytes; remove it"), "{error}");
}

#[test]
fn a_file_that_others_may_write_or_that_is_a_link_is_not_taken() {
    let it = Fixture::new();
    let id = it.put(1);
    fs::set_permissions(it.file(&id), fs::Permissions::from_mode(0o660)).unwrap();
    assert!(!it.is_loaded(&id));

    it.put(1);
    let path = it.file(&id);
    let elsewhere = it.directory.path().join("elsewhere");
    fs::rename(&path, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
    assert!(!it.is_loaded(&id));
    assert!(elsewhere.exists(), "the target of a link is left alone");
}

#[test]
fn the_directory_is_private() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b/modules");
    let store = ArtifactStore::open(&path).unwrap();
    assert_eq!(fs::metadata(store.directory()).unwrap().mode() & 0o777, 0o700);
    for mode in [0o755, 0o710, 0o702] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = ArtifactStore::open(&path).unwrap_err().to_string();
        assert!(error.ends_with(&format!("others have access to it (mode {mode:o}); chmod 700 it")), "{error}");
    }
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(ArtifactStore::open(&file).unwrap_err().to_string().contains("not a directory"));
}

#[test]
fn the_least_recently_used_modules_are_evicted() {
    let it = Fixture::new();
    let it = Fixture { store: it.store.clone().bounded(2, u64::MAX), ..it };
    let ids: Vec<_> = (0..2).map(|number| it.put(number)).collect();
    let long_ago = SystemTime::now() - Duration::from_secs(60);
    for id in &ids {
        File::options().append(true).open(it.file(id)).unwrap().set_modified(long_ago).unwrap();
    }
    assert!(it.is_loaded(&ids[0]), "this is a use");
    let third = it.put(3);
    assert!(it.is_loaded(&ids[0]) && !it.is_loaded(&ids[1]) && it.is_loaded(&third));

    let tiny = it.store.clone().bounded(usize::MAX, 1);
    let fourth = module_id(&component(4)).of_job("x");
    tiny.put(&it.engine, &fourth, &it.engine.precompile("x", &component(4)).unwrap()).unwrap();
    assert_eq!(tiny.files("").len(), 1, "the newest stays, whatever its size");
    assert!(it.is_loaded(&fourth));
}

#[test]
fn an_old_partial_file_of_a_crashed_writer_is_swept() {
    let it = Fixture::new();
    let partial = |name: &str| it.store.directory().join(name);
    fs::write(partial("1-0.part"), "half").unwrap();
    fs::write(partial("2-0.part"), "being written").unwrap();
    let old = File::options().append(true).open(partial("1-0.part")).unwrap();
    old.set_modified(SystemTime::now() - 2 * ABANDONED).unwrap();
    it.put(1);
    assert!(!partial("1-0.part").exists() && partial("2-0.part").exists());
}
