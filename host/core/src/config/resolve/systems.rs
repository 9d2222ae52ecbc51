//! The systems of a configuration: which factory each has, what outputs they make.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::{Place, Settings};
use crate::config::authority;
use crate::config::job::Output;
use crate::config::keys;
use crate::config::problem::{Code, Problem};
use crate::config::source::{Entry, Speaker};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum System {
    Kinesis,
    Console,
    File,
    /// Reported already.
    Unusable,
}

/// Names of factories: our own short ones, Samza's classes, and what the Samza documentation prints.
const FACTORIES: [(&str, System); 8] = [
    ("kinesis", System::Kinesis),
    ("org.apache.samza.system.kinesis.KinesisSystemFactory", System::Kinesis),
    ("org.apache.samza.system.eventhub.KinesisSystemFactory", System::Kinesis),
    ("console", System::Console),
    ("org.apache.samza.system.console.ConsoleSystemFactory", System::Console),
    ("org.apache.samza.tools.ConsoleLoggingSystemFactory", System::Console),
    ("file", System::File),
    ("org.apache.samza.system.file.FileSystemFactory", System::File),
];

/// Whether a factory's outputs are files.
pub(in crate::config) fn is_file(class: &str) -> bool {
    FACTORIES.contains(&(class, System::File))
}

/// Systems with a factory that is not known here: what else is set for them nobody can judge.
pub(in crate::config) fn unusable_systems(entries: &BTreeMap<String, Entry>) -> BTreeSet<&str> {
    let is_known = |class: &str| FACTORIES.iter().any(|(name, _)| *name == class.trim());
    let unknown = entries.iter().filter(|(_, entry)| !is_known(&entry.value));
    unknown.filter_map(|(key, _)| key.strip_prefix("systems.")?.strip_suffix(".samza.factory")).collect()
}

pub(super) fn read(settings: &mut Settings<'_>) -> BTreeMap<String, System> {
    let entries = settings.entries;
    let names = entries
        .keys()
        .filter_map(|key| keys::find(key).filter(|hit| hit.key.name == keys::samza::SAMZA_FACTORY.name)?.system);
    names.collect::<Vec<_>>().into_iter().map(|name| (name.clone(), factory(settings, &name))).collect()
}

fn factory(settings: &mut Settings<'_>, system: &str) -> System {
    let Some(class) = settings.text_in(&keys::samza::SAMZA_FACTORY, Place { system, streams: &[] }) else {
        return System::Unusable;
    };
    if let Some((_, system)) = FACTORIES.iter().find(|(name, _)| *name == class) {
        return *system;
    }
    // A whole class name is meant as it stands; all of them are near to each other.
    let slip = !class.ends_with("SystemFactory");
    let nearest = settings.guess(&class, FACTORIES.iter().map(|(name, _)| *name)).filter(|_| slip);
    let key = format!("systems.{system}.samza.factory");
    let problem = Problem::new(Code::NotSupported, format!("`{key}` names no system that is known here"));
    let problem =
        problem.expected("`kinesis` for inputs, `console` or `file` for outputs, or Samza's class names of these");
    let hint = match &nearest {
        Some(nearest) => format!("write {nearest}"),
        None => "only Kinesis streams can be read so far, and outputs written to the console or a file".to_owned(),
    };
    settings.blame(problem.nearest(nearest).hint(hint), &key);
    System::Unusable
}

pub(super) fn outputs(settings: &mut Settings<'_>, systems: &BTreeMap<String, System>) -> BTreeMap<String, Output> {
    let mut outputs: BTreeMap<String, Output> = BTreeMap::new();
    let mut files: BTreeMap<PathBuf, String> = BTreeMap::new();
    for (name, system) in systems {
        let output = match system {
            System::Console => Output::Console,
            System::File => file(settings, name),
            System::Kinesis | System::Unusable => continue,
        };
        if let Output::File { path, .. } = &output
            && let Some(other) = files.insert(path.clone(), name.clone())
        {
            let message = format!("the outputs `{other}` and `{name}` write the same file");
            settings.conflict(message, &format!("systems.{name}.file.path"), "give each a file of its own");
        }
        outputs.insert(name.clone(), output);
    }
    outputs
}

fn file(settings: &mut Settings<'_>, system: &str) -> Output {
    let path = file_path(settings, system);
    let own = settings.entries.get(&format!("systems.{system}.file.path"));
    let is_jobs = own.is_some_and(|entry| entry.speaker == Speaker::Job);
    let operators = if is_jobs { authority::file_directory(&settings.allow, &path) } else { None };
    Output::File { operators: operators.unwrap_or_else(|| path.clone()), path }
}

fn file_path(settings: &mut Settings<'_>, system: &str) -> PathBuf {
    if let Some(path) = settings.text_in(&keys::shardmill::FILE_PATH, Place { system, streams: &[] }) {
        return PathBuf::from(path);
    }
    let key = format!("systems.{system}.file.path");
    if !settings.entries.contains_key(&key) {
        let problem = Problem::new(Code::MissingKey, format!("`{key}` is missing")).key(&key);
        let problem = problem.expected("the file that the output system appends to");
        settings.report.problem(problem.hint(format!("add a line {key}=...")));
    }
    // Unique, so that two missing paths are not taken for one file.
    PathBuf::from(system)
}
