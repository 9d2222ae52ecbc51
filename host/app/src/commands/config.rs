//! `shardmill config check` and `config show`: what the configuration says, without running it.

use anyhow::Result;
use serde_json::{Value, json};
use shardmill_core::config::{self, Errors, Notice, Problem, Source, render_check, render_problems, render_show};

use super::{BadInput, environment, print, print_json, read_sources};
use crate::cli::ConfigFiles;

pub(crate) fn check(args: &ConfigFiles) -> Result<()> {
    let sources = sources(args)?;
    match config::load(&sources, &environment(), args.lenient) {
        Ok(loaded) if args.json => {
            print_json(&json!({ "ok": true, "problems": [], "notices": notices(&loaded.notices) }).to_string())
        }
        Ok(loaded) => print(&render_check(&loaded)),
        Err(errors) => return refuse(args, &errors),
    }
    Ok(())
}

pub(crate) fn show(args: &ConfigFiles) -> Result<()> {
    let sources = sources(args)?;
    match config::load(&sources, &environment(), args.lenient) {
        Ok(loaded) if args.json => {
            let row = |r: &config::Resolved| json!({ "key": r.key, "value": r.value, "origin": r.origin.to_string() });
            print_json(&Value::from_iter(loaded.resolved.iter().map(row)).to_string());
        }
        Ok(loaded) => print(&render_show(&loaded)),
        Err(errors) => return refuse(args, &errors),
    }
    Ok(())
}

fn sources(args: &ConfigFiles) -> Result<Vec<Source>> {
    let mut sources = read_sources(&args.files)?;
    sources.extend(args.settings.iter().cloned().map(Source::Override));
    Ok(sources)
}

fn refuse(args: &ConfigFiles, errors: &Errors) -> Result<()> {
    if args.json {
        let problems = errors.problems().iter().map(problem).collect::<Value>();
        print_json(&json!({ "ok": false, "problems": problems, "notices": notices(errors.notices()) }).to_string());
    }
    Err(BadInput(render_problems(errors)).into())
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
    })
}

fn notices(notices: &[Notice]) -> Value {
    let row = |notice: &Notice| {
        json!({
            "code": notice.code.as_str(),
            "message": notice.message,
            "origin": notice.origin.as_ref().map(ToString::to_string),
            "key": notice.key,
        })
    };
    notices.iter().map(row).collect()
}
