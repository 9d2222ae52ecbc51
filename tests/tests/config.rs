//! Configuration as a user meets it: the page of Samza's Kinesis connector works as printed, what holds is shown with
//! its origin, secrets are never shown, and the reference page is that of the code. Bad configurations are in `bad`.

#[path = "config/access.rs"]
mod access;
#[path = "config/authority.rs"]
mod authority;
#[path = "config/bad.rs"]
mod bad;
#[path = "config/client.rs"]
mod client;
#[path = "config/good.rs"]
mod good;
#[path = "config/scale.rs"]
mod scale;
#[path = "config/secrets.rs"]
mod secrets;

use std::collections::BTreeMap;
use std::path::Path;

use shardmill_core::config::{self, Errors, Input, Job, KinesisInput, Loaded, Source};

/// A whole job, and nothing more than it needs.
const JOB: &str = "\
job.name=orders
task.class=word-count
task.inputs=kinesis.input0
systems.kinesis.samza.factory=kinesis
";

fn file(name: &str, text: &str) -> Source {
    Source::File { name: name.to_owned(), text: text.to_owned() }
}

fn load(sources: &[Source]) -> Result<Loaded, Errors> {
    config::load(sources, &BTreeMap::new(), false)
}

/// The job with these lines over it.
fn job_with(lines: &str) -> Loaded {
    let loaded = load(&[file("job.properties", JOB), file("more.properties", lines)]);
    loaded.unwrap_or_else(|errors| panic!("{}", config::render_problems(&errors)))
}

/// The input of the job with these lines over it.
fn input(lines: &str) -> KinesisInput {
    kinesis(job_with(lines).job)
}

/// The job's first input.
fn kinesis(mut job: Job) -> KinesisInput {
    let Input::Kinesis(input) = job.inputs.remove(0);
    input
}

/// What is said about the job with these lines over it, when they are bad.
fn told(lines: &str) -> String {
    told_of(&[file("job.properties", JOB), file("more.properties", lines)])
}

fn told_of(sources: &[Source]) -> String {
    config::render_problems(&load(sources).expect_err("a bad configuration"))
}

fn environment(variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The job at the head of the page.
#[test]
fn the_reference_pages_example_works() {
    let page = config::reference_markdown();
    let example = page.split("```").nth(1).expect("the page has an example");
    let loaded = load(&[file("example.properties", example)]);
    let loaded = loaded.unwrap_or_else(|errors| panic!("{}", config::render_problems(&errors)));
    let said = "ok: job orders-1 runs big-orders on kinesis.orders, partner.orders, output to console\nkeys: 11 set, all with an effect\n";
    assert_eq!(config::render_check(&loaded), said);
}

#[test]
fn the_reference_page_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/CONFIGURATION.md");
    let page = config::reference_markdown();
    if std::env::var_os("UPDATE_CONFIGURATION").is_some() {
        std::fs::write(&path, &page).expect("the page is written");
    }
    let written = std::fs::read_to_string(&path).expect("the page is read");
    assert!(
        written == page,
        "host/CONFIGURATION.md differs from the table of keys; its head says how to write it anew"
    );
}
