//! `shardmill config check` and `config show`: validate and print a configuration without running it.

use std::path::Path;

use anyhow::Result;
use serde_json::{Value, json};
use shardmill_core::config::{
    self, Errors, Loaded, LoadedHost, Notice, Problem, Resolved, Source, render_check, render_check_host,
    render_problems, render_show, render_show_host,
};

use super::{BadInput, environment, print, print_json, read_job, read_sources};
use crate::cli::ConfigFiles;

/// The subject of a configuration.
enum Subject {
    /// A host, by the configuration that it is started with.
    Host(Vec<Source>),
    /// One job.
    Job(Vec<Source>),
}

enum Answer {
    Host(Box<LoadedHost>),
    Job(Box<Loaded>),
}

impl Subject {
    fn load(&self, lenient: bool) -> Result<Answer, Errors> {
        match self {
            Self::Host(sources) => config::load_host(sources, &environment(), lenient).map(Box::new).map(Answer::Host),
            Self::Job(sources) => config::load(sources, &environment(), lenient).map(Box::new).map(Answer::Job),
        }
    }
}

impl Answer {
    fn notices(&self) -> &[Notice] {
        match self {
            Self::Host(loaded) => &loaded.notices,
            Self::Job(loaded) => &loaded.notices,
        }
    }

    fn resolved(&self) -> &[Resolved] {
        match self {
            Self::Host(loaded) => &loaded.resolved,
            Self::Job(loaded) => &loaded.resolved,
        }
    }

    fn checked(&self) -> String {
        match self {
            Self::Host(loaded) => render_check_host(loaded),
            Self::Job(loaded) => render_check(loaded),
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Host(loaded) => render_show_host(loaded),
            Self::Job(loaded) => render_show(loaded),
        }
    }
}

pub(crate) fn check(args: &ConfigFiles) -> Result<()> {
    let answers = answers(args)?;
    if args.json {
        let all = answers.iter().flat_map(Answer::notices);
        print_json(&json!({ "ok": true, "problems": [], "notices": notices(all) }).to_string());
    } else {
        print(&answers.iter().map(Answer::checked).collect::<String>());
    }
    Ok(())
}

pub(crate) fn show(args: &ConfigFiles) -> Result<()> {
    if !args.host.is_empty() && args.files.len() > 1 {
        return Err(
            BadInput("`config show --host` shows one job at a time: give one NAME.properties".to_owned()).into()
        );
    }
    let answers = answers(args)?;
    if args.json {
        let row = |r: &Resolved| json!({ "key": r.key, "value": r.value, "origin": r.origin.to_string() });
        print_json(&Value::from_iter(answers.iter().flat_map(Answer::resolved).map(row)).to_string());
    } else {
        print(&answers.iter().map(Answer::shown).collect::<String>());
    }
    Ok(())
}

/// Loads every subject; an error if any of them is invalid.
fn answers(args: &ConfigFiles) -> Result<Vec<Answer>> {
    let (mut answers, mut errors) = (Vec::new(), Vec::new());
    for subject in subjects(args)? {
        match subject.load(args.lenient) {
            Ok(answer) => answers.push(answer),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(answers) } else { refuse(args, &errors) }
}

fn subjects(args: &ConfigFiles) -> Result<Vec<Subject>> {
    let settings = || args.settings.iter().cloned().map(Source::Override);
    if args.host.is_empty() {
        let mut sources = read_sources(&args.files)?;
        sources.extend(settings());
        let is_job = config::names_a_job(&sources);
        return Ok(vec![if is_job { Subject::Job(sources) } else { Subject::Host(sources) }]);
    }
    let operators = read_sources(&args.host)?;
    if config::names_a_task(&operators) {
        let text = "task.class makes this the configuration of a single job, but --host expects that of a task directory: \
                    remove task.class, or check the file without --host";
        return Err(BadInput(text.to_owned()).into());
    }
    if args.files.is_empty() {
        return Ok(vec![Subject::Host(operators.into_iter().chain(settings()).collect())]);
    }
    let of_job = |file: &std::path::PathBuf| {
        let author = [Source::Module(job_of(file)), read_job(file)?];
        Ok(Subject::Job(operators.iter().cloned().chain(author).chain(settings()).collect()))
    };
    args.files.iter().map(of_job).collect()
}

/// The job that a properties file belongs to, by the file's name.
fn job_of(file: &Path) -> String {
    file.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}

fn refuse<T>(args: &ConfigFiles, errors: &[Errors]) -> Result<T> {
    if args.json {
        let problems = errors.iter().flat_map(Errors::problems).map(problem).collect::<Value>();
        let notices = notices(errors.iter().flat_map(Errors::notices));
        print_json(&json!({ "ok": false, "problems": problems, "notices": notices }).to_string());
    }
    let texts: Vec<String> = errors.iter().map(render_problems).collect();
    Err(BadInput(texts.join("\n")).into())
}

fn problem(problem: &Problem) -> Value {
    json!({
        "code": problem.code.as_str(),
        "message": problem.message,
        "origin": problem.origin.as_ref().map(ToString::to_string),
        "key": problem.key,
        "value": problem.value,
        "expected": problem.expected,
        "nearest": problem.nearest,
        "hint": problem.hint,
        "count": problem.count,
    })
}

fn notices<'a>(notices: impl Iterator<Item = &'a Notice>) -> Value {
    let row = |notice: &Notice| {
        json!({
            "code": notice.code.as_str(),
            "message": notice.message,
            "origin": notice.origin.as_ref().map(ToString::to_string),
            "key": notice.key,
            "count": notice.count,
        })
    };
    notices.map(row).collect()
}
