//! The reference page of all keys, rendered from the table that the checks use.

use super::keys::{self, Disposition, Family, Key, Masking, Scope, Setter};

const HEADER: &str = "# Configuration

<!-- Generated from the table of keys: do not edit. After a change of the table, write it anew with
     UPDATE_CONFIGURATION=1 cargo test -p shardmill-tests --test config reference -->

A job is configured by [Samza](https://samza.apache.org/)'s properties files: `--config-path FILE` (repeatable, a later
file wins) and `--config KEY=VALUE` (wins over files). The format is Java's: `key=value` lines, comments on lines of
their own that begin with `#`, long lines continued with `\\` at their end; files are UTF-8.

```
# a job that reads one stream of its own account and one of another
job.name=orders
task.class=big-orders
task.inputs=kinesis.orders,partner.orders

systems.kinesis.samza.factory=kinesis
systems.kinesis.aws.region=eu-central-1
systems.kinesis.streams.orders.aws.kcl.InitialPositionInStream=TRIM_HORIZON

systems.partner.samza.factory=kinesis
systems.partner.aws.region=us-east-1
systems.partner.aws.roleArn=arn:aws:iam::123456789012:role/orders-reader
systems.partner.aws.externalId=orders

systems.console.samza.factory=console
```

- `shardmill config check FILE...` tells everything that is wrong, with its place, and `shardmill config show` what holds
  in the end and where each value comes from.
- **Scope** says where a key stands. *job*: as it is. *system*: `systems.S.KEY`, for the system `S`. *stream*:
  `systems.S.streams.X.KEY`, for the stream `X` of `S`. Where both are possible, the stream's own wins. A name with a dot
  in `task.inputs` is `system.stream`.
- **Set by** says who may set a key in a task directory, where the properties file beside a module is its author's and the
  configuration that `run` is given is the operator's. *job*: both. *job, not higher* (or *lower*): the job no further than
  the operator has it, or the default. *operator*: the operator, unless the operator opens it to jobs by `host.allow.*`
  (see *Keys of the host*); a job may repeat what holds anyway. In a single job everything is the operator's.
- *(sensitive)* behind a key: it is written with `sensitive.` before all the rest, as
  `sensitive.systems.S.streams.X.aws.secretKey`, and its value is masked wherever it would be shown; *(sensitive or not)*:
  either way, masked all the same.
- **Works** is what is done as its name says. A **notice** is told once at start: the key is accepted, and has no effect for
  the reason given. An **error** stops the job before it starts: going on would do something else than is asked for.
- A key that is not on this page is an error that names the nearest one; with `--lenient` it is ignored with a notice.
- Times are whole numbers of milliseconds, sizes of bytes, where nothing else is said.
";

/// `host/CONFIGURATION.md`; a test compares the two.
pub fn reference_markdown() -> String {
    let mut page = HEADER.to_owned();
    for family in &keys::FAMILIES {
        page.push_str(&section(family));
    }
    page
}

fn section(family: &Family) -> String {
    let (works, others): (Vec<&Key>, Vec<&Key>) =
        family.keys.iter().partition(|key| key.disposition == Disposition::Works);
    let mut text = format!("\n## {}\n\n{}\n", family.title, family.intro);
    text.push_str(
        "\n| key that works | scope | set by | type, unit | default | meaning |\n|---|---|---|---|---|---|\n",
    );
    text.extend(works.iter().map(|key| {
        let default = match key.default {
            Some(default) => format!("`{default}`"),
            None if key.required => "required".to_owned(),
            None => String::new(),
        };
        row(&[&name(key), scope(key), setter(key), &key.kind.name(), &default, key.meaning])
    }));
    if others.is_empty() {
        return text;
    }
    text.push_str("\n| other key | scope | type, unit | meaning | here |\n|---|---|---|---|---|\n");
    text.extend(others.iter().map(|key| row(&[&name(key), scope(key), &key.kind.name(), key.meaning, &fate(key)])));
    text
}

fn row(cells: &[&str]) -> String {
    let cells: Vec<String> = cells.iter().map(|cell| cell.replace('|', "\\|")).collect();
    format!("| {} |\n", cells.join(" | "))
}

fn fate(key: &Key) -> String {
    match key.disposition {
        Disposition::Works => String::new(),
        Disposition::NoMeaning(reason) => format!("notice: {reason}"),
        Disposition::NotYet(reason) => format!("notice, not yet: {reason}"),
        Disposition::Only(value, reason) => format!("error unless `{value}`: {reason}"),
        Disposition::Rejected(reason) => format!("error: {reason}"),
    }
}

fn scope(key: &Key) -> &'static str {
    match key.scope {
        Scope::Job => "job",
        Scope::System => "system",
        Scope::Stream => "stream",
        Scope::SystemOrStream => "stream, system",
        Scope::HostOrJob => "host, one job",
    }
}

fn setter(key: &Key) -> &'static str {
    match key.setter {
        Setter::Job => "job",
        Setter::AtMost => "job, not higher",
        Setter::AtLeast => "job, not lower",
        Setter::Words(_) => "operator; job to `console`",
        Setter::Operator | Setter::OperatorAlone => "operator",
    }
}

/// The key without its scope, with the short placeholders of the page.
fn name(key: &Key) -> String {
    let name = key.name.replace("{id}", "ID").replace("{name}", "NAME").replace("{store}", "STORE");
    let name = name.replace("{rest}", "*");
    match key.masking {
        Masking::None => format!("`{name}`"),
        Masking::Required => format!("`{name}` (sensitive)"),
        Masking::Optional => format!("`{name}` (sensitive or not)"),
    }
}
