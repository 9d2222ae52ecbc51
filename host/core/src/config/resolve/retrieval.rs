//! How a stream is read: by polling, or by fan-out and as which consumer.

use super::{Place, Settings};
use crate::config::input::{Consumer, KinesisInput, RetrievalMode};
use crate::config::keys::{self, Key};
use crate::config::problem::{Code, Origin, Problem};

const OF_POLLING: [&Key; 2] = [&keys::kcl::MAX_RECORDS, &keys::kcl::IDLE_TIME_BETWEEN_READS_IN_MILLIS];

/// The most characters of a consumer's name, by the service's rules.
const NAME_MAX: usize = 128;

/// The consumer that the stream is read as; `None` when it is polled.
pub(super) fn consumer(settings: &mut Settings<'_>, at: Place<'_>, application_name: &str) -> Option<Consumer> {
    let mode = settings.text_in(&keys::kcl::RETRIEVAL_MODE, at).unwrap_or_default();
    let (name, arn) = (settings.text_in(&keys::kcl::CONSUMER_NAME, at), settings.text_in(&keys::kcl::CONSUMER_ARN, at));
    if !mode.eq_ignore_ascii_case("FANOUT") {
        tell_without_effect(
            settings,
            at,
            &[&keys::kcl::CONSUMER_NAME, &keys::kcl::CONSUMER_ARN],
            "has an effect with RetrievalMode=FANOUT only",
        );
        return None;
    }
    tell_without_effect(settings, at, &OF_POLLING, "has an effect with RetrievalMode=POLLING only");
    let Some(arn) = arn else {
        return Some(Consumer::Name(consumer_name(settings, at, name, application_name)));
    };
    tell_without_effect(settings, at, &[&keys::kcl::CONSUMER_NAME], "has no effect: ConsumerArn names the consumer");
    check_arn(settings, at, &arn);
    Some(Consumer::Arn(arn))
}

/// A consumer has one subscription to a shard: two inputs that read as one would take each other's place again and again.
pub(super) fn check(settings: &mut Settings<'_>, others: &[KinesisInput], input: &KinesisInput) {
    let RetrievalMode::FanOut(consumer) = &input.retrieval.mode else { return };
    let same = |other: &&KinesisInput| {
        matches!(&other.retrieval.mode, RetrievalMode::FanOut(theirs) if theirs == consumer)
            && other.stream_id() == input.stream_id()
            && other.kinesis.region == input.kinesis.region
            && other.kinesis.endpoint == input.kinesis.endpoint
    };
    let Some(other) = others.iter().find(same) else {
        return;
    };
    let at = Place { system: &input.system, streams: std::slice::from_ref(&input.stream) };
    let own = at.own_key(&keys::kcl::CONSUMER_NAME);
    let key = settings
        .find(&keys::kcl::CONSUMER_ARN, at)
        .or_else(|| settings.find(&keys::kcl::CONSUMER_NAME, at))
        .unwrap_or_else(|| own.clone());
    let [a, b] = [other, input].map(|it| format!("`{}.{}`", it.system, it.stream));
    let message = format!("the inputs {a} and {b} would read as the same consumer");
    settings.conflict(message, &key, &format!("a consumer has one place at each shard: set {own}"));
}

fn tell_without_effect(settings: &mut Settings<'_>, at: Place<'_>, keys: &[&'static Key], why: &str) {
    for key in keys {
        let Some(key) = settings.find(key, at) else { continue };
        settings.remark(Code::NoEffect, format!("`{key}` {why}"), &key);
    }
}

fn consumer_name(settings: &mut Settings<'_>, at: Place<'_>, name: Option<String>, application_name: &str) -> String {
    let own = at.own_key(&keys::kcl::CONSUMER_NAME);
    let name = name.unwrap_or_else(|| {
        settings.record(&own, application_name, Origin::Derived("job.name, job.id and the stream"));
        application_name.to_owned()
    });
    if name.len() > NAME_MAX {
        let problem = Problem::new(Code::BadValue, format!("`{name}` cannot be the name of a consumer"));
        let problem = problem.expected(format!("at most {NAME_MAX} characters, a rule of Kinesis"));
        let key = settings.find(&keys::kcl::CONSUMER_NAME, at).unwrap_or_else(|| own.clone());
        settings.blame(problem.hint(format!("set {own} to a shorter name")), &key);
    }
    name
}

/// A system's key reaches all of its streams, but a consumer is of one.
fn check_arn(settings: &mut Settings<'_>, at: Place<'_>, arn: &str) {
    let stream = &at.streams[0];
    if stream_of_consumer(arn) == Some(stream) {
        return;
    }
    let problem = Problem::new(Code::BadValue, format!("`{arn}` is no consumer of the stream `{stream}`"));
    let problem = problem.expected(format!("arn:aws:kinesis:REGION:ACCOUNT:stream/{stream}/consumer/NAME:TIME"));
    let hint = format!("set it at systems.{}.streams.{stream}, or set ConsumerName instead", at.system);
    let key = settings.find(&keys::kcl::CONSUMER_ARN, at).unwrap_or_default();
    settings.blame(problem.hint(hint), &key);
}

fn stream_of_consumer(arn: &str) -> Option<&str> {
    let (service, resource) = (arn.split(':').nth(2)?, arn.splitn(6, ':').nth(5)?);
    let (stream, consumer) = resource.strip_prefix("stream/")?.split_once("/consumer/")?;
    (arn.starts_with("arn:") && service == "kinesis" && !consumer.is_empty()).then_some(stream)
}
