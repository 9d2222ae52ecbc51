//! The memory that an instance of a component needs before any of its code runs: linear memories, tables, and the
//! contexts in which the engine keeps a core instance's globals, imports and functions. Computed by the compiler process
//! from the same translation as the code, because a few megabytes of component can describe gigabytes of contexts.

use std::fmt;

use serde::{Deserialize, Serialize};
use wasmtime_environ::component::{
    ComponentTypesBuilder, GlobalInitializer, InstantiateModule, Translator, VMComponentOffsets,
};
use wasmtime_environ::wasmparser::{Validator, WasmFeatures};
use wasmtime_environ::{Module, ScopeVec, Tunables, VMOffsets};

/// Bytes of a pointer, and so of a table's element and of the parts of a context.
pub(crate) const POINTER_BYTES: u8 = 8;
/// A generous estimate of what the engine keeps for a core instance beside its context.
const INSTANCE_OVERHEAD_BYTES: u64 = 1024;

/// The initial memory of an instance, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    pub core_instances: u64,
    /// Bytes of the contexts of all core instances: their globals, imports and function references.
    pub contexts: u64,
    /// Bytes of linear memories.
    pub memories: u64,
    /// Bytes of tables.
    pub tables: u64,
}

impl Footprint {
    /// Computes the footprint of a valid component.
    ///
    /// # Errors
    /// When it cannot be translated, which the compiler detects, too.
    pub(crate) fn of(wasm: &[u8]) -> Result<Self, String> {
        let (scope, tunables) = (ScopeVec::new(), Tunables::default_host());
        // The allowed features were checked when it was compiled.
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        let mut types = ComponentTypesBuilder::new(&validator);
        let translator = Translator::new(&tunables, &mut validator, &mut types, &scope);
        let (component, modules) = translator.translate(wasm).map_err(|error| format!("{error:#}"))?;
        let component = component.component;
        let mut sum = Self {
            contexts: u64::from(VMComponentOffsets::new(POINTER_BYTES, &component).size_of_vmctx()),
            ..Self::default()
        };
        // Flat: a component that is instantiated many times has an entry for each core instance.
        for initializer in &component.initializers {
            if let GlobalInitializer::InstantiateModule(InstantiateModule::Static(module, _), _) = initializer {
                sum.add_core_instance(&modules[*module].module);
            }
        }
        Ok(sum)
    }

    fn add_core_instance(&mut self, module: &Module) {
        let context = u64::from(VMOffsets::new(POINTER_BYTES, module).size_of_vmctx());
        self.core_instances = self.core_instances.saturating_add(1);
        self.contexts = self.contexts.saturating_add(context.saturating_add(INSTANCE_OVERHEAD_BYTES));
        for memory in module.memories.values().skip(module.num_imported_memories) {
            self.memories = self.memories.saturating_add(memory.minimum_byte_size().unwrap_or(u64::MAX));
        }
        for table in module.tables.values().skip(module.num_imported_tables) {
            self.tables = self.tables.saturating_add(table.limits.min.saturating_mul(POINTER_BYTES.into()));
        }
    }

    /// Bytes of everything.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.contexts.saturating_add(self.memories).saturating_add(self.tables)
    }
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { core_instances, contexts, memories, tables } = *self;
        write!(
            f,
            "{} for the globals and functions of {core_instances} core instances, {} of linear memories, {} of tables",
            shown(contexts),
            shown(memories),
            shown(tables)
        )
    }
}

/// In MiB, or KiB where that is less than one; rounded up.
pub(crate) fn shown(bytes: u64) -> String {
    if bytes < 1 << 20 { format!("{} KiB", bytes.div_ceil(1 << 10)) } else { format!("{} MiB", mib(bytes)) }
}

/// In whole MiB, rounded up.
fn mib(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Footprint {
        Footprint::of(&wat::parse_str(text).unwrap()).unwrap()
    }

    #[test]
    fn every_core_instance_counts_with_its_memories_tables_and_globals() {
        let text = |instances: &str, globals: usize| {
            let globals = "(global (mut i64) (i64.const 0))".repeat(globals);
            format!("(component (core module $m (memory 2) (table 100 funcref) {globals}) {instances})")
        };
        let one = of(&text("(core instance (instantiate $m))", 1000));
        assert_eq!((one.core_instances, one.memories, one.tables), (1, 2 << 16, 800));
        assert!((16_000..20_000).contains(&one.contexts), "{one:?}");
        let ten = of(&text(&"(core instance (instantiate $m))".repeat(10), 1000));
        assert_eq!((ten.core_instances, ten.memories, ten.tables), (10, 20 << 16, 8000));
        assert!((160_000..200_000).contains(&ten.contexts), "{ten:?}");
        assert_eq!(of(&text("", 1000)).core_instances, 0, "a module that is not instantiated costs nothing");
    }

    /// Each level instantiates the one below it twice.
    #[test]
    fn nested_components_count_as_often_as_they_are_instantiated() {
        let mut text = "(component $c0 (core module $m (memory 1)) (core instance (instantiate $m)))".to_owned();
        for level in 1..=8 {
            let below = level - 1;
            let twice = format!("(instance (instantiate $c{below}))").repeat(2);
            text = format!("(component $c{level} {text} {twice})");
        }
        let sum = of(&text);
        assert_eq!((sum.core_instances, sum.memories), (256, 256 << 16));
    }

    #[test]
    fn sums_do_not_wrap() {
        let most = Footprint { core_instances: 1, contexts: u64::MAX, memories: u64::MAX, tables: 1 };
        assert_eq!(most.total(), u64::MAX);
    }
}
