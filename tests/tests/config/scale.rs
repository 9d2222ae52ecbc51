//! Large configurations: what is said of them has a bound, and nothing in them is looked at more often than once for each
//! key (`core/benches/config.rs` measures it, `keys::index` counts steps).

use shardmill_core::config::{self, Code, Errors, render_problems};

use super::{JOB, file, load};

fn lines(count: usize, line: impl Fn(usize) -> String) -> String {
    (0..count).map(|n| line(n) + "\n").collect()
}

fn errors(text: &str) -> Errors {
    load(&[file("job.properties", JOB), file("more.properties", text)]).expect_err("a bad configuration")
}

#[test]
fn of_many_unknown_keys_the_first_are_reported_and_the_rest_is_counted() {
    let errors = errors(&lines(20_000, |n| format!("task.comit.ms{n}=1")));
    assert_eq!((errors.problems().len(), errors.count()), (21, 20_000));
    let text = render_problems(&errors);
    assert!(text.contains("more.properties:20\n") && !text.contains("`task.comit.ms20`"), "{text}");
    assert!(
        text.contains("error[unknown-key]: and 19980 more unknown keys\n  at:       more.properties:21\n"),
        "{text}"
    );
    assert!(text.ends_with("\n20000 problems found\n"), "{text}");
}

#[test]
fn of_many_other_problems_the_first_are_shown_and_the_rest_is_counted() {
    let errors = errors(&lines(5_000, |n| format!("systems.kinesis.streams.s{n}.aws.kcl.MaxRecords=none")));
    assert_eq!((errors.problems().len(), errors.count()), (100, 5_000));
    assert!(render_problems(&errors).ends_with("5000 problems found; the first 100 are shown\n"));
}

#[test]
fn of_many_notices_the_first_of_each_kind_are_reported_and_the_rest_is_counted() {
    let text = lines(1_000, |n| format!("prose without a sign {n}")) + &lines(300, |_| "job.id=1".to_owned());
    let loaded = load(&[file("job.properties", JOB), file("more.properties", &text)]).expect("a good configuration");
    assert_eq!(loaded.notices.len(), 42);
    let text = config::render_notices(&loaded.notices);
    assert!(text.contains("notice[prose-line]: and 980 more notices of this kind"), "{text}");
    assert!(text.contains("notice[duplicate-key]: and 279 more notices of this kind"), "{text}");
}

#[test]
fn a_file_has_a_most_of_keys() {
    let errors = errors(&lines(20_001, |n| format!("task.config.x{n}=1")));
    let [problem] = errors.problems() else { panic!("{errors}") };
    assert_eq!(problem.code, Code::TooLarge);
    assert_eq!(problem.origin.as_ref().map(ToString::to_string).as_deref(), Some("more.properties:20001"));
    let good = lines(20_000, |n| format!("task.config.x{n}=1"));
    let loaded = load(&[file("job.properties", JOB), file("more.properties", &good)]).expect("a good configuration");
    assert_eq!(loaded.job.task_config.len(), 20_000);
}

#[test]
fn a_job_has_a_most_of_inputs_and_headers() {
    let inputs: Vec<String> = (0..1_001).map(|n| format!("kinesis.s{n}")).collect();
    let many = errors(&format!("task.inputs={}", inputs.join(",")));
    assert_eq!(many.problems().iter().map(|it| it.code).collect::<Vec<_>>(), [Code::TooLarge]);
    let many = errors(&lines(101, |n| format!("systems.kinesis.aws.clientConfig.Headers.X-{n:03}=1")));
    assert_eq!(many.problems().iter().map(|it| it.code).collect::<Vec<_>>(), [Code::TooLarge]);
}

/// A long text is quoted in part.
#[test]
fn quoted_text_is_bounded() {
    let long = "a".repeat(200_000);
    for text in [
        format!("{long}=1"),
        format!("task.commit.ms={long}"),
        format!("task.class={long}/"),
        format!("task.inputs={long}"),
    ] {
        let text = render_problems(&errors(&text));
        assert!(text.len() < 20_000 && text.contains(" more bytes)"), "{}", text.len());
    }
}

#[test]
fn quoted_text_cannot_control_a_terminal() {
    let text = "task.commit.ms=\\u001b]0;x\\u0007\\u202e\n\
                task.\\u001b[2J=1\n\
                systems.k\\u2028.samza.factory=\\u009b1m\n\
                task.config.a\\nb=c\\nd\\u001b[1m\n";
    let name = "more\u{1b}[1m.properties";
    let errors = load(&[file("job.properties", JOB), file(name, text)]).expect_err("a bad configuration");
    let loaded = load(&[file("job.properties", JOB), file(name, text.lines().last().unwrap_or_default())]);
    let shown = config::render_show(&loaded.expect("a good configuration"));
    assert!(shown.contains("task.config.a\\nb=c\\nd\\u{1b}[1m"), "{shown}");
    for text in [render_problems(&errors), shown] {
        let is_harmless = |c: char| c == '\n' || !shardmill_core::text::is_hidden(c);
        assert!(text.chars().all(is_harmless), "{text:?}");
    }
}
