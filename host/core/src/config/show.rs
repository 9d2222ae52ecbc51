//! A configuration as text for people: what `shardmill config check` and `config show` print. It must not change what
//! it shows; secrets are masked before they come here.

use super::Loaded;
use super::problem::{Errors, Notice};

/// Every setting as it holds in the end, one a line, behind the origin of its value.
pub fn render_show(loaded: &Loaded) -> String {
    let origins: Vec<String> = loaded.resolved.iter().map(|resolved| resolved.origin.to_string()).collect();
    let width = origins.iter().map(|origin| origin.chars().count()).max().unwrap_or_default();
    let lines = loaded.resolved.iter().zip(&origins);
    lines.map(|(resolved, origin)| format!("{origin:<width$}  {}={}\n", resolved.key, resolved.value)).collect()
}

/// That the configuration can be used, and what to know about it.
pub fn render_check(loaded: &Loaded) -> String {
    format!("{}ok: {}\n", render_notices(&loaded.notices), summary(loaded))
}

/// Every problem, one paragraph each, then the notices and the count.
pub fn render_problems(errors: &Errors) -> String {
    let count = errors.problems().len();
    let plural = if count == 1 { "" } else { "s" };
    let notices = render_notices(errors.notices());
    let gap = if notices.is_empty() { "" } else { "\n" };
    format!("{errors}\n\n{notices}{gap}{count} problem{plural} found\n")
}

/// Every problem, for a sentence that says already that something is wrong.
pub fn render_reason(errors: &Errors) -> String {
    let problems = errors.problems().iter().map(|problem| {
        let text = problem.to_string();
        text.strip_prefix(&format!("error[{}]: ", problem.code)).unwrap_or(&text).to_owned()
    });
    problems.collect::<Vec<_>>().join("\n")
}

/// One line each.
pub fn render_notices(notices: &[Notice]) -> String {
    notices.iter().map(|notice| format!("{notice}\n")).collect()
}

fn summary(loaded: &Loaded) -> String {
    let job = &loaded.job;
    let inputs: Vec<String> = job.inputs.iter().map(|input| format!("{}.{}", input.system, input.stream)).collect();
    let outputs: Vec<&str> = job.outputs.keys().map(String::as_str).collect();
    let outputs =
        if outputs.is_empty() { "without outputs".to_owned() } else { format!("output to {}", outputs.join(", ")) };
    format!("job {}-{} runs {} on {}, {outputs}", job.name, job.id, job.task_class, inputs.join(", "))
}
