//! `shardmill check`: validates a module for its author. Reports its shape, its imports, the grants that it receives, the
//! time that it takes to compile and start, and every problem that would prevent it from running.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use shardmill::admit::{Admission, Rejected, task_spec};
use shardmill::own_files::check_grants;
use shardmill_core::config::{Directory, Grants, Job, Loaded, Source};
use shardmill_core::text;
use shardmill_runtime::trial::TrialReport;
use shardmill_runtime::{Module, Shape, module_id};

use super::modules::{admission, name_of, read};
use super::{BadInput, JobLoader, log_notices, print, print_json, read_job, runtime};
use crate::cli::{Check, ConfigArgs};

pub(crate) fn check(args: &Check) -> Result<()> {
    let admission = admission(&args.modules, None)?;
    let (job, bad_configuration) = match configured(args) {
        Ok(job) => (job, None),
        Err(error) => (None, Some(error.downcast::<BadInput>()?)),
    };
    let mut findings = runtime()?.block_on(examine(&admission, &args.file, job.as_ref()))?;
    if let Some(BadInput(text)) = bad_configuration {
        findings.refuse(text.clone(), vec![text]);
    }
    findings.report(args.json)
}

fn configured(args: &Check) -> Result<Option<Job>> {
    let ConfigArgs { paths, settings, .. } = &args.config;
    let Loaded { job, notices, .. } = if !args.host.is_empty() {
        let operators = ConfigArgs { paths: args.host.clone(), ..args.config.clone() };
        JobLoader::new(&operators)?.load(&of_author(&args.file, paths)?)?
    } else if paths.is_empty() && settings.is_empty() {
        return Ok(None);
    } else {
        JobLoader::new(&args.config)?.load(&[])?
    };
    log_notices(&notices);
    Ok(Some(job))
}

/// The job's sources as a task directory would provide them: the module's name, and the named properties or else those
/// beside the module.
fn of_author(module: &Path, named: &[PathBuf]) -> Result<Vec<Source>> {
    let beside = module.with_extension("properties");
    let files = match named {
        [] if beside.exists() => vec![beside],
        named => named.to_vec(),
    };
    let mut sources = vec![Source::Module(name_of(module))];
    for file in &files {
        sources.push(read_job(file)?);
    }
    Ok(sources)
}

/// The result of checking a module.
#[derive(Default, Serialize)]
pub(crate) struct Findings {
    path: PathBuf,
    ok: bool,
    problems: Vec<String>,
    id: String,
    sha256: String,
    size_bytes: usize,
    shape: Option<&'static str>,
    abilities: Vec<&'static str>,
    imports: Vec<String>,
    exports: Vec<String>,
    grants: Vec<Grant>,
    /// `None` when the module had been compiled before.
    compile_ms: Option<u64>,
    trial: Option<Trial>,
    /// The problems, formatted for people.
    #[serde(skip)]
    said: Vec<String>,
}

/// A resource of the machine that a module can request, because it imports the interface.
#[derive(Serialize)]
struct Grant {
    name: &'static str,
    given: Vec<String>,
    key: Option<&'static str>,
}

#[derive(Serialize)]
struct Trial {
    instantiate_us: u64,
    init_us: u64,
    memory_bytes: usize,
    log: Vec<String>,
}

/// Admits a module, and runs its trial as `job` if there is one.
pub(crate) async fn examine(admission: &Admission, path: &Path, job: Option<&Job>) -> Result<Findings> {
    let wasm = read(path)?;
    let name = name_of(path);
    let id = module_id(&wasm);
    let mut findings = Findings {
        path: path.to_owned(),
        ok: true,
        id: id.of_job(&name).to_string(),
        sha256: id.to_string(),
        size_bytes: wasm.len(),
        ..Findings::default()
    };
    let admitted = match admission.admit(&name, wasm).await {
        Ok(admitted) => admitted,
        Err(rejected) => return findings.rejected(&rejected).map(|()| findings),
    };
    findings.describe(&admitted.module, job);
    findings.compile_ms = admitted.compiled_in.map(|took| took.as_millis() as u64);
    if let Some(job) = job {
        if let Err(reason) = check_grants(job) {
            findings.refuse(format!("{}: {reason}", path.display()), vec![reason]);
            return Ok(findings);
        }
        match admission.try_out(&admitted.module, &task_spec(job), None).await {
            Ok(report) => findings.trial = Some(trial(report)),
            Err(rejected) => findings.rejected(&rejected)?,
        }
    }
    Ok(findings)
}

fn trial(report: TrialReport) -> Trial {
    Trial {
        instantiate_us: report.instantiate.as_micros() as u64,
        init_us: report.init.as_micros() as u64,
        memory_bytes: report.memory_bytes,
        log: report.log,
    }
}

impl Findings {
    /// Prints the findings; an error if there are problems.
    pub(crate) fn report(&self, json: bool) -> Result<()> {
        if json {
            print_json(&serde_json::to_string(self).context("failed to write the findings")?);
        } else if self.shape.is_some() {
            print(&self.shown());
        }
        if self.ok { Ok(()) } else { Err(BadInput(self.said.join("\n")).into()) }
    }

    /// Records the new path of the module.
    pub(crate) fn moved_to(&mut self, path: &Path) {
        path.clone_into(&mut self.path);
    }

    pub(crate) fn is_ok(&self) -> bool {
        self.ok
    }

    fn rejected(&mut self, rejected: &Rejected) -> Result<()> {
        // A granted directory that does not exist concerns the author.
        if !rejected.is_final() && !matches!(rejected, Rejected::Trial { .. }) {
            anyhow::bail!("{rejected}");
        }
        self.refuse(format!("{}: {rejected}", self.path.display()), rejected.problems());
        Ok(())
    }

    fn refuse(&mut self, said: String, problems: Vec<String>) {
        self.ok = false;
        self.said.push(said);
        self.problems.extend(problems);
    }

    fn describe(&mut self, module: &Module, job: Option<&Job>) {
        self.shape = Some(match module.shape() {
            Shape::Task => "task",
            Shape::BatchTask => "batch-task",
        });
        let abilities = [(module.has_lifecycle(), "lifecycle"), (module.has_windowing(), "windowing")];
        self.abilities = abilities.into_iter().filter(|(has, _)| *has).map(|(_, name)| name).collect();
        self.imports = module.imports().to_vec();
        self.exports = module.exports().to_vec();
        self.grants = grants(module, &job.map(|job| task_spec(job).grants).unwrap_or_default());
    }

    fn shown(&self) -> String {
        let mut shape = self.shape.unwrap_or_default().to_owned();
        if !self.abilities.is_empty() {
            shape += &format!(" with {}", self.abilities.join(" and "));
        }
        let compiled = self.compile_ms.map_or("before".to_owned(), |ms| format!("in {ms} ms"));
        let mut text = format!(
            "{}\n  id        {}\n  sha256    {}\n  size      {} KiB\n  shape     {shape}\n  compiled  {compiled}\n",
            text::path(&self.path),
            text::shown(&self.id),
            self.sha256,
            self.size_bytes / 1024,
        );
        text += "  imports\n";
        text.extend(self.imports.iter().map(|import| format!("    {}\n", text::shown(import))));
        text += "  exports\n";
        text.extend(self.exports.iter().map(|export| format!("    {}\n", text::shown(export))));
        if !self.grants.is_empty() {
            text += "  grants\n";
        }
        for Grant { name, given, key } in &self.grants {
            let given = match (given.is_empty(), key) {
                (false, _) => given.join(", "),
                (true, Some(key)) => format!("none ({key})"),
                (true, None) => "never granted".to_owned(),
            };
            text += &format!("    {name:<22} {given}\n");
        }
        if let Some(Trial { instantiate_us, init_us, memory_bytes, log }) = &self.trial {
            let memory = *memory_bytes as f64 / f64::from(1 << 20);
            text += &format!("  starts    in {instantiate_us} µs, init {init_us} µs, {memory:.1} MiB of memory\n");
            text.extend(log.iter().map(|line| format!("    {}\n", text::entry(line))));
        }
        text
    }
}

/// What a module can request by its imports, and what of it the job grants.
fn grants(module: &Module, given: &Grants) -> Vec<Grant> {
    let directory = |it: &Directory| {
        let access = if it.writable { "read and write" } else { "read-only" };
        format!("{} at {} ({access})", it.host.display(), it.guest)
    };
    let origins = given.http.iter().map(ToString::to_string).collect();
    let all = [
        ("wasi:cli/environment@", "environment variables", Some("task.grant.env"), given.env.keys().cloned().collect()),
        ("wasi:filesystem/", "files", Some("task.grant.dir"), given.directories.iter().map(directory).collect()),
        ("wasi:http/outgoing-handler@", "HTTP requests", Some("task.grant.http"), origins),
        ("wasi:sockets/", "sockets", None, Vec::new()),
    ];
    let is_imported = |prefix: &str| module.imports().iter().any(|import| import.starts_with(prefix));
    let asked = all.into_iter().filter(|(prefix, ..)| is_imported(prefix));
    asked.map(|(_, name, key, given)| Grant { name, given, key }).collect()
}
