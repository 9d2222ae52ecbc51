//! Configurations for tests: a job that is quick to notice things. Owns the settings, not what a test makes of them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// A properties file in the making.
#[derive(Clone, Debug)]
pub struct Properties(BTreeMap<String, String>);

impl Properties {
    /// The job `test`: the streams of the system `kinesis` through the task `echo` to the file system `out`.
    pub(crate) fn echo(streams: &[&str], kinesis: &str, dynamodb: &str, output: &Path) -> Self {
        let inputs: Vec<String> = streams.iter().map(|stream| format!("kinesis.{stream}")).collect();
        let mut this = Self(BTreeMap::new())
            .set("job.name", "test")
            .set("task.class", "echo")
            .set("task.inputs", &inputs.join(","))
            .set("task.commit.ms", "100")
            .set("task.retry.backoff.ms", "10")
            .set("task.config.output", "out.echo")
            .set("systems.out.samza.factory", "file")
            .set("systems.out.file.path", &output.display().to_string())
            .set("systems.kinesis.samza.factory", "org.apache.samza.system.kinesis.KinesisSystemFactory")
            .set("systems.kinesis.aws.region", "us-east-1")
            .kcl("KinesisEndpoint", kinesis)
            .kcl("DynamoDBEndpoint", dynamodb)
            .kcl("InitialPositionInStream", "TRIM_HORIZON")
            .kcl("IdleTimeBetweenReadsInMillis", "20")
            .kcl("ParentShardPollIntervalMillis", "50")
            // So that the rows of finished shards can be looked at.
            .kcl("CleanupLeasesUponShardCompletion", "false")
            // Long enough for a busy machine, short enough for a test that waits for a take-over.
            .kcl("FailoverTimeMillis", "2000");
        for stream in streams {
            this = this
                .set(&format!("systems.kinesis.streams.{stream}.aws.accessKey"), "test")
                .set(&format!("sensitive.systems.kinesis.streams.{stream}.aws.secretKey"), "test");
        }
        this
    }

    /// Sets a key, or sets it anew.
    #[must_use]
    pub fn set(mut self, key: &str, value: &str) -> Self {
        self.0.insert(key.to_owned(), value.to_owned());
        self
    }

    /// Takes a key away.
    #[must_use]
    pub fn unset(mut self, key: &str) -> Self {
        self.0.remove(key);
        self
    }

    /// Sets a Kinesis Client Library key of the system `kinesis`.
    #[must_use]
    pub fn kcl(self, key: &str, value: &str) -> Self {
        self.set(&format!("systems.kinesis.aws.kcl.{key}"), value)
    }

    /// The file's text.
    #[must_use]
    pub fn text(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, (key, value)| {
            writeln!(text, "{key}={value}").expect("a string takes everything");
            text
        })
    }
}
