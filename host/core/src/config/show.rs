//! A configuration as text for people: what `shardmill config check` and `config show` print. It must not change what
//! it shows; secrets are masked before they come here.

use super::problem::{Errors, Notice};
use super::{Host, Keys, Loaded, LoadedHost, Resolved};
use crate::text::shown;

/// Every setting as it holds in the end, one a line, behind the origin of its value.
pub fn render_show(loaded: &Loaded) -> String {
    rows(&loaded.resolved)
}

/// The same of a host's, as for a job that sets nothing itself.
pub fn render_show_host(loaded: &LoadedHost) -> String {
    rows(&loaded.resolved)
}

fn rows(resolved: &[Resolved]) -> String {
    let origins: Vec<String> = resolved.iter().map(|resolved| resolved.origin.to_string()).collect();
    let width = origins.iter().map(|origin| origin.chars().count()).max().unwrap_or_default();
    let lines = resolved.iter().zip(&origins);
    lines.map(|(it, origin)| format!("{origin:<width$}  {}={}\n", shown(&it.key), shown(&it.value))).collect()
}

/// That the configuration can be used, and what to know about it.
pub fn render_check(loaded: &Loaded) -> String {
    format!("{}ok: {}\n{}\n", render_notices(&loaded.notices), summary(loaded), counted(loaded.keys))
}

/// The same of a host's.
pub fn render_check_host(loaded: &LoadedHost) -> String {
    let opened = match opened(&loaded.host) {
        0 => "nothing of the operator's is opened to them".to_owned(),
        1 => "1 line opens to them what is the operator's".to_owned(),
        lines => format!("{lines} lines open to them what is the operator's"),
    };
    let summary =
        format!("a host; each NAME.wasm of its task directory is a job over this configuration, and {opened}");
    format!("{}ok: {summary}\n{}\n", render_notices(&loaded.notices), counted(loaded.keys))
}

/// Whether every key does something.
fn counted(Keys { set, without_effect }: Keys) -> String {
    match without_effect {
        0 => format!("keys: {set} set, all with an effect"),
        _ => format!("keys: {set} set, {without_effect} without an effect: see the notices"),
    }
}

fn opened(host: &Host) -> usize {
    let lines = |allow: &super::Allow| {
        let super::Allow { env, directories, http, http_networks, files, keys, limits } = allow;
        let has = [
            env.is_some(),
            directories.is_some(),
            http.is_some(),
            http_networks.is_some(),
            files.is_some(),
            keys.is_some(),
        ];
        has.into_iter().filter(|has| *has).count() + limits.len()
    };
    lines(&host.allow) + host.jobs.values().map(lines).sum::<usize>()
}

/// Every problem, one paragraph each, then the notices and the count.
pub fn render_problems(errors: &Errors) -> String {
    let (count, shown) = (errors.count(), errors.problems().len());
    let plural = if count == 1 { "" } else { "s" };
    let notices = render_notices(errors.notices());
    let gap = if notices.is_empty() { "" } else { "\n" };
    let told: usize = errors.problems().iter().map(|problem| problem.count).sum();
    let more = if told < count { format!("; the first {shown} are shown") } else { String::new() };
    format!("{errors}\n\n{notices}{gap}{count} problem{plural} found{more}\n")
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
    let inputs: Vec<String> = job.inputs.iter().map(|input| format!("{}.{}", input.system(), input.stream())).collect();
    let outputs: Vec<&str> = job.outputs.keys().map(String::as_str).collect();
    let outputs =
        if outputs.is_empty() { "without outputs".to_owned() } else { format!("output to {}", outputs.join(", ")) };
    let job_of = format!("job {}-{} runs {} on {}, {outputs}", job.name, job.id, job.task_class, inputs.join(", "));
    shown(&job_of).into_owned()
}
