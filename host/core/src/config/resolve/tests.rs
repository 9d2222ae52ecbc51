//! That what the table says works is really read, so that no key is a promise without a reader.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::keys::{self, Disposition, Key};
use crate::config::value::Kind;
use crate::config::{Source, load, render_problems};

/// A value for the key that is not its default, and goes together with those of all others.
fn sample(key: &Key) -> &'static str {
    match key.name {
        "samza.factory" => "kinesis",
        "task.inputs" => "s.x, id",
        "job.default.system" | "streams.{id}.samza.system" => "s",
        "streams.{id}.samza.physical.name" => "physical",
        "job.systemstreampartition.grouper.factory" => key.default.expect("the only choice"),
        "aws.kcl.InitialPositionInStream" => "AT_TIMESTAMP",
        "aws.kcl.BillingMode" => "PROVISIONED",
        "aws.kcl.ShardSyncStrategyType" => "PERIODIC",
        "aws.wire.protocol" => "json",
        "task.on.delete" => "stop",
        "task.rollout" => "canary",
        "task.rollout.waves" => "1,50%",
        "aws.kcl.RetrievalMode" => "FANOUT",
        "aws.kcl.StreamIdentifier" => "123456789012:x:1700000000",
        "aws.kcl.ConsumerArn" => "arn:aws:kinesis:eu-central-1:123456789012:stream/x/consumer/c:1",
        "task.grant.http" => "https://*.example.com",
        "task.grant.dir" => "/data::/in:rw",
        "host.allow.task.grant.dir" => "/data:rw",
        "host.allow.task.grant.http" => "https://*.example.com",
        "host.allow.http.networks" => "10.0.0.0/8",
        "host.allow.file.path" => "/out",
        "host.allow.keys" => "job.name",
        "aws.region" | "aws.kcl.RegionName" => "eu-central-1",
        "aws.clientConfig.RetryMode" => "ADAPTIVE",
        _ => match key.kind {
            Kind::Timestamp => "2026-01-31T12:00:00Z",
            Kind::Url => "http://127.0.0.1:1",
            Kind::Bool => "true",
            Kind::StreamArn => "arn:aws:kinesis:eu-central-1:123456789012:stream/x",
            Kind::RoleArn => "arn:aws:iam::123456789012:role/reader",
            Kind::Int(..) | Kind::Millis(_) | Kind::MillisOrNever => "7",
            _ => "text",
        },
    }
}

/// Every key that works, at the most specific place it may stand at.
fn everything() -> BTreeMap<String, String> {
    let works = keys::all().filter(|key| key.disposition == Disposition::Works);
    let mut all: BTreeMap<String, String> = works.map(|key| (place(key), sample(key).to_owned())).collect();
    all.insert("systems.out.samza.factory".to_owned(), "file".to_owned());
    all
}

fn place(key: &Key) -> String {
    let pattern = key.patterns().remove(0);
    let system = if key.name == "file.path" { "out" } else { "s" };
    let pattern = pattern.replace("{system}", system).replace("{stream}", "x").replace("{job}", "a.b");
    pattern.replace("{id}", "id").replace("{name}", "name")
}

fn resolved(settings: &BTreeMap<String, String>) -> BTreeSet<String> {
    let text = settings.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    let source = Source::File { name: "all.properties".to_owned(), text };
    // What `task.grant.env` names.
    let env = BTreeMap::from([("text".to_owned(), "value".to_owned())]);
    let loaded = load(&[source], &env, false);
    let loaded = loaded.unwrap_or_else(|errors| panic!("{}", render_problems(&errors)));
    loaded.resolved.into_iter().map(|resolved| resolved.key).collect()
}

#[test]
fn every_key_that_works_is_read() {
    let mut all = everything();
    let keys: Vec<String> = all.keys().cloned().collect();
    // A profile and a pair of keys exclude each other.
    let profiles: Vec<_> = all.extract_if(.., |key, _| key.ends_with(".profile")).collect();
    let mut read = resolved(&all);
    let pair = |key: &str| ["accessKey", "secretKey", "sessionToken"].iter().any(|end| key.ends_with(end));
    all.retain(|key, _| !pair(key));
    all.extend(profiles);
    read.extend(resolved(&all));
    // What wins over another key is taken away once, so that the other is read.
    let mut without = all.clone();
    without.retain(|key, _| !key.starts_with("app.") && key != "streams.id.samza.system");
    read.extend(resolved(&without));
    let unread: Vec<&String> = keys.iter().filter(|key| !read.contains(*key)).collect();
    assert!(unread.is_empty(), "{unread:#?}");
}
