//! Bad configurations and the whole text that a user gets for each: what is wrong, where, what was expected, what to do.

use insta::assert_snapshot;
use proptest::prelude::*;
use shardmill_core::config::{self, Source, render_problems};

use super::{JOB, environment, file, load, told, told_of};

proptest! {
    /// Whatever stands in a file, the answer is a job or problems with something to say, and the same one each time.
    #[test]
    fn every_text_is_answered(
        pairs in prop::collection::vec((
            prop::sample::select([
                "task.inputs", "job.name", "task.class", "job.id", "streams.a.samza.system", "streams.a.samza.physical.name",
                "systems.kinesis.samza.factory", "systems..samza.factory", "systems.a.samza.factory", "systems.a.file.path",
                "systems.kinesis.streams.a.b.aws.region", "systems.kinesis.aws.kcl.InitialPositionInStream",
                "systems.kinesis.streams.a.aws.kcl.TimestampAtInitialPositionInStream", "sensitive.", "sensitive", ".", "..a",
                "systems.kinesis.aws.kcl.MaxLeasesForWorker", "task.commit.ms", "task.config.", "systems.", "systems.streams.streams",
            ].as_slice()),
            prop::sample::select([
                "", ".", "a", "kinesis", "kinesis.a", "a.b,kinesis.a", ",", "kinesis.a.b", "file", "console", "-1", "0",
                "9223372036854775807", "99999999999999999999", "AT_TIMESTAMP", "1700000000", "ü", "a b", "${HOME}",
            ].as_slice()),
        ), 0..12),
        lenient: bool,
    ) {
        let lines: String = pairs.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        let sources = [file("job.properties", JOB), file("more.properties", &lines)];
        let load = || config::load(&sources, &environment(&[]), lenient);
        match load() {
            Ok(loaded) => prop_assert!(!loaded.job.inputs.is_empty() && !loaded.job.name.is_empty()),
            Err(errors) => prop_assert!(!errors.problems().is_empty()),
        }
        prop_assert_eq!(load(), load());
    }
}

#[test]
fn nothing_at_all() {
    assert_snapshot!(told_of(&[]), @r"
    error[missing-key]: `job.name` is missing
      expected: name of the job; part of the lease table's name
      hint:     add a line job.name=...

    error[missing-key]: `task.class` is missing
      expected: the module: `word-count` is `word-count.wasm` in the task directory
      hint:     add a line task.class=...

    error[missing-key]: `task.inputs` is missing
      expected: the streams to read: `system.stream`, or ids of `streams.ID.*`, with commas between
      hint:     add a line task.inputs=...

    3 problems found
    ");
}

#[test]
fn an_argument_that_is_no_setting() {
    let arguments = ["job.id", "=2"].map(|argument| Source::Override(argument.to_owned()));
    let [none, nameless] = arguments;
    assert_snapshot!(told_of(&[file("job.properties", JOB), none, nameless]), @r"
    error[bad-syntax]: an argument of --config without `=`
      at:       --config
      expected: --config key=value

    error[bad-syntax]: an argument of --config without a key
      at:       --config
      expected: --config key=value

    2 problems found
    ");
}

#[test]
fn a_bad_value_on_the_command_line() {
    let argument = Source::Override("task.call.timeout.ms=0".to_owned());
    assert_snapshot!(told_of(&[file("job.properties", JOB), argument]), @r"
    error[bad-value]: `task.call.timeout.ms` cannot have this value
      at:       --config
      value:    0
      expected: a whole number of milliseconds from 1 to 31622400000

    1 problem found
    ");
}

#[test]
fn a_bad_address_in_the_environment() {
    let env = environment(&[("AWS_ENDPOINT_URL", "localhost:4566")]);
    let errors = config::load(&[file("job.properties", JOB)], &env, false).expect_err("a bad configuration");
    assert_snapshot!(render_problems(&errors), @r"
    error[bad-value]: the environment variable AWS_ENDPOINT_URL is no address
      at:       environment variable AWS_ENDPOINT_URL
      value:    localhost:4566
      expected: http:// or https:// with a host, and without a user name or password
      hint:     correct or unset it

    1 problem found
    ");
}

/// The page's block of advanced settings with its placeholders still in it.
#[test]
fn placeholders_of_the_page() {
    let lines = "\
        systems.kinesis.aws.clientConfig.CLIENT-CONFIG=YOUR-CLIENT-CONFIG-VALUE\n\
        systems.kinesis.aws.clientConfig.ProxyHost=YOUR-PROXY-HOST\n\
        systems.kinesis.aws.clientConfig.ProxyPort=YOUR-PROXY-PORT\n\
        systems.kinesis.streams.input0.aws.kcl.KCL-CONFIG=YOUR-KCL-CONFIG-VALUE\n\
        systems.kinesis.streams.input0.aws.kcl.TableName=YOUR-APP-TABLE-NAME\n\
        systems.kinesis.streams.input0.aws.kcl.InitialPositionInStream=YOUR-INIT-READ-POSITION\n";
    assert_snapshot!(told(lines), @r"
    error[unknown-key]: `systems.kinesis.aws.clientConfig.CLIENT-CONFIG` is not a known key
      at:       more.properties:1
      hint:     remove the line; --lenient ignores unknown keys

    error[bad-value]: `systems.kinesis.aws.clientConfig.ProxyPort` cannot have this value
      at:       more.properties:3
      value:    YOUR-PROXY-PORT
      expected: a whole number from 1 to 65535

    error[unknown-key]: `systems.kinesis.streams.input0.aws.kcl.KCL-CONFIG` is not a known key
      at:       more.properties:4
      hint:     remove the line; --lenient ignores unknown keys

    error[bad-value]: `systems.kinesis.streams.input0.aws.kcl.InitialPositionInStream` cannot have this value
      at:       more.properties:6
      value:    YOUR-INIT-READ-POSITION
      expected: one of LATEST, TRIM_HORIZON, AT_TIMESTAMP

    notice[placeholder]: the value of `systems.kinesis.aws.clientConfig.ProxyHost` still is the placeholder of the documentation (more.properties:2)
    notice[placeholder]: the value of `systems.kinesis.streams.input0.aws.kcl.TableName` still is the placeholder of the documentation (more.properties:5)

    4 problems found
    ");
}

/// Several sources, everything at once, in the order of the places.
#[test]
fn many_mistakes_in_many_places() {
    let sources = [
        file("base.properties", "job.nmae=orders\ntask.commit.ms=often\nyarn.queue=default\n"),
        file("job.properties", "some prose\nsystems.k.samza.factory=kafka\ntask.inputs=k.a\n"),
        Source::Override("task.retry.max.attempts=0".to_owned()),
    ];
    assert_snapshot!(told_of(&sources), @r"
    error[unknown-key]: `job.nmae` is not a known key
      at:       base.properties:1
      nearest:  job.name
      hint:     write job.name, or remove the line; --lenient ignores unknown keys

    error[bad-value]: `task.commit.ms` cannot have this value
      at:       base.properties:2
      value:    often
      expected: a whole number of milliseconds up to 31622400000; 0 or less means never

    error[not-supported]: `systems.k.samza.factory` names no system that is known here
      at:       job.properties:2
      value:    kafka
      expected: `kinesis` for inputs, `console` or `file` for outputs, or Samza's class names of these
      hint:     only Kinesis streams can be read so far, and outputs written to the console or a file

    error[bad-value]: `task.retry.max.attempts` cannot have this value
      at:       --config
      value:    0
      expected: a whole number from 1 to 1000

    error[missing-key]: `job.name` is missing
      expected: name of the job; part of the lease table's name
      hint:     add a line job.name=...

    error[missing-key]: `task.class` is missing
      expected: the module: `word-count` is `word-count.wasm` in the task directory
      hint:     add a line task.class=...

    notice[no-meaning]: `yarn.queue` has no meaning here: processes are started by your platform, and share the shards through the lease table (base.properties:3)
    notice[prose-line]: a line without `=` or `:` is taken for prose and ignored; start it with `#` (job.properties:1)

    6 problems found
    ");
}

/// Programs get the same by the codes of the rules.
#[test]
fn problems_have_stable_codes() {
    let errors = load(&[file("a.properties", "task.comit.ms=5\ntask.window.ms=x\n")]).expect_err("bad");
    let codes: Vec<&str> = errors.problems().iter().map(|problem| problem.code.as_str()).collect();
    assert_eq!(codes, ["unknown-key", "bad-value", "missing-key", "missing-key", "missing-key"]);
    assert_eq!(errors.problems()[0].nearest.as_deref(), Some("task.commit.ms"));
    assert_eq!(errors.problems()[1].value.as_deref(), Some("x"));
}

#[test]
fn a_misspelt_key() {
    assert_snapshot!(told("task.comit.ms=5"), @r"
    error[unknown-key]: `task.comit.ms` is not a known key
      at:       more.properties:1
      nearest:  task.commit.ms
      hint:     write task.commit.ms, or remove the line; --lenient ignores unknown keys

    1 problem found
    ");
}

#[test]
fn a_key_like_no_other() {
    assert_snapshot!(told("logging.level=debug"), @r"
    error[unknown-key]: `logging.level` is not a known key
      at:       more.properties:1
      hint:     keys for the task are written task.config.NAME, as task.config.logging.level; --lenient ignores unknown keys

    1 problem found
    ");
}

#[test]
fn a_kcl_key_with_a_small_letter() {
    assert_snapshot!(told("systems.kinesis.streams.input0.aws.kcl.tableName=t"), @r"
    error[unknown-key]: `systems.kinesis.streams.input0.aws.kcl.tableName` is not a known key
      at:       more.properties:1
      nearest:  systems.kinesis.streams.input0.aws.kcl.TableName
      hint:     write systems.kinesis.streams.input0.aws.kcl.TableName, or remove the line; --lenient ignores unknown keys

    1 problem found
    ");
}

#[test]
fn a_client_setting_at_a_stream() {
    assert_snapshot!(told("systems.kinesis.streams.input0.aws.clientConfig.SocketTimeout=5"), @r"
    error[unknown-key]: `systems.kinesis.streams.input0.aws.clientConfig.SocketTimeout` is not a known key
      at:       more.properties:1
      nearest:  systems.kinesis.aws.clientConfig.SocketTimeout
      hint:     write systems.kinesis.aws.clientConfig.SocketTimeout, or remove the line; --lenient ignores unknown keys

    1 problem found
    ");
}

#[test]
fn a_client_setting_among_those_of_the_kcl() {
    assert_snapshot!(told("systems.kinesis.aws.kcl.MaxErrorRetry=5"), @r"
    error[unknown-key]: `systems.kinesis.aws.kcl.MaxErrorRetry` is not a known key
      at:       more.properties:1
      nearest:  systems.kinesis.aws.clientConfig.MaxErrorRetry
      hint:     write systems.kinesis.aws.clientConfig.MaxErrorRetry, or remove the line; --lenient ignores unknown keys

    1 problem found
    ");
}

#[test]
fn a_misspelt_scope() {
    assert_snapshot!(told("systems.kinesis.stream.input0.aws.region=eu-central-1"), @r"
    error[unknown-key]: `systems.kinesis.stream.input0.aws.region` is not a known key
      at:       more.properties:1
      nearest:  systems.kinesis.streams.input0.aws.region
      hint:     write systems.kinesis.streams.input0.aws.region, or remove the line; --lenient ignores unknown keys

    1 problem found
    ");
}

#[test]
fn a_duration_with_a_unit() {
    assert_snapshot!(told("task.commit.ms=60s"), @r"
    error[bad-value]: `task.commit.ms` cannot have this value
      at:       more.properties:1
      value:    60s
      expected: a whole number of milliseconds up to 31622400000; 0 or less means never
      hint:     write 60000

    1 problem found
    ");
}

#[test]
fn a_comment_behind_a_value() {
    assert_snapshot!(told("task.window.ms=1000 # every second"), @r"
    error[bad-value]: `task.window.ms` cannot have this value
      at:       more.properties:1
      value:    1000 # every second
      expected: a whole number of milliseconds up to 31622400000; 0 or less means never
      hint:     a comment needs a line of its own: here `#` is part of the value

    1 problem found
    ");
}

#[test]
fn a_number_out_of_its_range() {
    assert_snapshot!(told("systems.kinesis.streams.input0.aws.kcl.MaxRecords=20000"), @r"
    error[bad-value]: `systems.kinesis.streams.input0.aws.kcl.MaxRecords` cannot have this value
      at:       more.properties:1
      value:    20000
      expected: a whole number from 1 to 10000

    1 problem found
    ");
}

#[test]
fn a_number_with_group_marks() {
    assert_snapshot!(told("systems.kinesis.streams.input0.aws.kcl.MaxRecordsCount=30,000"), @r"
    error[bad-value]: `systems.kinesis.streams.input0.aws.kcl.MaxRecordsCount` cannot have this value
      at:       more.properties:1
      value:    30,000
      expected: a whole number from 1 to 2147483647
      hint:     write 30000

    1 problem found
    ");
}

#[test]
fn a_boolean_that_java_would_take_for_false() {
    assert_snapshot!(told("systems.kinesis.aws.kcl.CleanupLeasesUponShardCompletion=yes"), @r"
    error[bad-value]: `systems.kinesis.aws.kcl.CleanupLeasesUponShardCompletion` cannot have this value
      at:       more.properties:1
      value:    yes
      expected: `true` or `false`

    1 problem found
    ");
}

#[test]
fn an_empty_value() {
    assert_snapshot!(told("task.class="), @r"
    error[bad-value]: `task.class` cannot have this value
      at:       more.properties:1
      value:    (empty)
      expected: the name of a module in the task directory, without a path

    1 problem found
    ");
}

#[test]
fn a_word_that_is_none_of_the_list() {
    assert_snapshot!(told("systems.kinesis.streams.input0.aws.kcl.InitialPositionInStream=EARLIEST"), @r"
    error[bad-value]: `systems.kinesis.streams.input0.aws.kcl.InitialPositionInStream` cannot have this value
      at:       more.properties:1
      value:    EARLIEST
      expected: one of LATEST, TRIM_HORIZON, AT_TIMESTAMP
      hint:     write TRIM_HORIZON

    1 problem found
    ");
}

#[test]
fn a_bad_timestamp() {
    assert_snapshot!(told("systems.kinesis.streams.input0.aws.kcl.TimestampAtInitialPositionInStream=yesterday"), @r"
    error[bad-value]: `systems.kinesis.streams.input0.aws.kcl.TimestampAtInitialPositionInStream` cannot have this value
      at:       more.properties:1
      value:    yesterday
      expected: a moment as 2026-01-31T12:00:00Z, or as seconds or milliseconds since 1970

    1 problem found
    ");
}

#[test]
fn at_timestamp_without_one() {
    assert_snapshot!(told("systems.kinesis.streams.input0.aws.kcl.InitialPositionInStream=AT_TIMESTAMP"), @r"
    error[missing-key]: `kinesis.input0` starts AT_TIMESTAMP, and `systems.kinesis.streams.input0.aws.kcl.TimestampAtInitialPositionInStream` is missing
      expected: the moment to start at
      hint:     add a line systems.kinesis.streams.input0.aws.kcl.TimestampAtInitialPositionInStream=2026-01-31T12:00:00Z

    1 problem found
    ");
}

#[test]
fn a_timestamp_beside_another_position() {
    assert_snapshot!(told("systems.kinesis.streams.input0.aws.kcl.InitialPositionInStream=LATEST\nsystems.kinesis.streams.input0.aws.kcl.TimestampAtInitialPositionInStream=1700000000"), @r"
    error[conflict]: `systems.kinesis.streams.input0.aws.kcl.TimestampAtInitialPositionInStream` is set, and the initial position is LATEST
      at:       more.properties:1
      value:    LATEST
      hint:     write AT_TIMESTAMP, or remove the timestamp

    1 problem found
    ");
}

#[test]
fn a_secret_without_its_prefix() {
    assert_snapshot!(told("systems.kinesis.streams.input0.aws.accessKey=AK\nsystems.kinesis.streams.input0.aws.secretKey=SECRET"), @r"
    error[secret-not-marked]: `systems.kinesis.streams.input0.aws.secretKey` holds a secret, so its name must say so
      at:       more.properties:2
      nearest:  sensitive.systems.kinesis.streams.input0.aws.secretKey
      hint:     write sensitive.systems.kinesis.streams.input0.aws.secretKey; values of `sensitive.` keys are masked everywhere

    1 problem found
    ");
}

#[test]
fn an_access_key_without_its_secret() {
    assert_snapshot!(told("systems.kinesis.streams.input0.aws.accessKey=AK"), @r"
    error[incomplete-credentials]: `systems.kinesis.streams.input0.aws.accessKey` is set and `sensitive.systems.kinesis.streams.input0.aws.secretKey` is not
      at:       more.properties:1
      value:    AK
      expected: access key and secret key, or neither: then the AWS default chain is asked
      hint:     add a line sensitive.systems.kinesis.streams.input0.aws.secretKey=..., or remove systems.kinesis.streams.input0.aws.accessKey

    1 problem found
    ");
}

#[test]
fn a_secret_without_its_access_key() {
    assert_snapshot!(told("sensitive.systems.kinesis.streams.input0.aws.secretKey=SECRET"), @r"
    error[incomplete-credentials]: `sensitive.systems.kinesis.streams.input0.aws.secretKey` is set and `systems.kinesis.streams.input0.aws.accessKey` is not
      at:       more.properties:1
      value:    ********
      expected: access key and secret key, or neither: then the AWS default chain is asked
      hint:     add a line systems.kinesis.streams.input0.aws.accessKey=..., or remove sensitive.systems.kinesis.streams.input0.aws.secretKey

    1 problem found
    ");
}

#[test]
fn a_session_token_alone() {
    assert_snapshot!(told("sensitive.systems.kinesis.streams.input0.aws.sessionToken=SECRET"), @r"
    error[incomplete-credentials]: `sensitive.systems.kinesis.streams.input0.aws.sessionToken` is set and `systems.kinesis.streams.input0.aws.accessKey` is not
      at:       more.properties:1
      value:    ********
      expected: access key and secret key, or neither: then the AWS default chain is asked
      hint:     add a line systems.kinesis.streams.input0.aws.accessKey=..., or remove sensitive.systems.kinesis.streams.input0.aws.sessionToken

    1 problem found
    ");
}

#[test]
fn a_system_that_is_not_defined() {
    assert_snapshot!(told("task.inputs=kinesys.input0"), @r"
    error[missing-key]: the system `kinesys` of input `kinesys.input0` is not defined
      expected: a system with a line for its `samza.factory`
      nearest:  kinesis
      hint:     write kinesis.input0 in `task.inputs`, or add a line systems.kinesys.samza.factory=kinesis

    1 problem found
    ");
}

#[test]
fn an_input_without_a_system() {
    assert_snapshot!(told("task.inputs=input0"), @r"
    error[missing-key]: `input0` in `task.inputs` has no system
      expected: `system.stream`, or the id of a stream whose system is set
      hint:     write the system in front, as in kinesis.input0, or add a line streams.input0.samza.system=...

    1 problem found
    ");
}

#[test]
fn an_input_twice() {
    assert_snapshot!(told("task.inputs=kinesis.input0,kinesis.input0"), @r"
    error[conflict]: `task.inputs` names `kinesis.input0` twice
      at:       more.properties:1
      value:    kinesis.input0,kinesis.input0
      hint:     name each stream once

    1 problem found
    ");
}

#[test]
fn an_input_with_a_bad_name() {
    assert_snapshot!(told("task.inputs=kinesis.in put"), @r"
    error[bad-value]: `kinesis.in put` in `task.inputs` names no stream
      at:       more.properties:1
      value:    kinesis.in put
      expected: `system.stream` with letters, digits, `.`, `-` and `_`

    1 problem found
    ");
}

#[test]
fn a_factory_of_another_system() {
    assert_snapshot!(told("systems.kafka.samza.factory=org.apache.samza.system.kafka.KafkaSystemFactory"), @r"
    error[not-supported]: `systems.kafka.samza.factory` names no system that is known here
      at:       more.properties:1
      value:    org.apache.samza.system.kafka.KafkaSystemFactory
      expected: `kinesis` for inputs, `console` or `file` for outputs, or Samza's class names of these
      hint:     only Kinesis streams can be read so far, and outputs written to the console or a file

    1 problem found
    ");
}

#[test]
fn a_misspelt_factory() {
    assert_snapshot!(told("systems.out.samza.factory=org.apache.samza.system.kinesis.KinesisSystemFactor"), @r"
    error[not-supported]: `systems.out.samza.factory` names no system that is known here
      at:       more.properties:1
      value:    org.apache.samza.system.kinesis.KinesisSystemFactor
      expected: `kinesis` for inputs, `console` or `file` for outputs, or Samza's class names of these
      nearest:  org.apache.samza.system.kinesis.KinesisSystemFactory
      hint:     write org.apache.samza.system.kinesis.KinesisSystemFactory

    1 problem found
    ");
}

#[test]
fn an_output_as_an_input() {
    assert_snapshot!(told("systems.out.samza.factory=console\ntask.inputs=out.words"), @r"
    error[bad-value]: `out.words` cannot be read: the system `out` is an output
      at:       more.properties:2
      value:    out.words
      expected: streams of Kinesis systems
      hint:     remove it; tasks send to outputs through their collector

    1 problem found
    ");
}

#[test]
fn a_file_output_without_a_file() {
    assert_snapshot!(told("systems.out.samza.factory=file"), @r"
    error[missing-key]: `systems.out.file.path` is missing
      expected: the file that the output system appends to
      hint:     add a line systems.out.file.path=...

    1 problem found
    ");
}

#[test]
fn two_outputs_to_one_file() {
    assert_snapshot!(told("systems.a.samza.factory=file\nsystems.a.file.path=x\nsystems.b.samza.factory=file\nsystems.b.file.path=x"), @r"
    error[conflict]: the outputs `a` and `b` write the same file
      at:       more.properties:4
      value:    x
      hint:     give each a file of its own

    1 problem found
    ");
}

#[test]
fn samzas_default_grouper() {
    assert_snapshot!(told("job.systemstreampartition.grouper.factory=org.apache.samza.container.grouper.stream.GroupByPartitionFactory"), @r"
    error[not-supported]: only the AllSspToSingleTaskGrouperFactory can group Kinesis streams
      at:       more.properties:1
      value:    org.apache.samza.container.grouper.stream.GroupByPartitionFactory
      expected: org.apache.samza.container.grouper.stream.AllSspToSingleTaskGrouperFactory
      hint:     Kinesis shards are read by whoever holds their lease, so every task must be able to take all; remove the key

    1 problem found
    ");
}

#[test]
fn a_grouper_that_comes_later() {
    assert_snapshot!(told("job.systemstreampartition.grouper.factory=org.apache.samza.container.grouper.stream.GroupBySystemStreamPartitionFactory"), @r"
    error[not-supported]: only the AllSspToSingleTaskGrouperFactory can group Kinesis streams
      at:       more.properties:1
      value:    org.apache.samza.container.grouper.stream.GroupBySystemStreamPartitionFactory
      expected: org.apache.samza.container.grouper.stream.AllSspToSingleTaskGrouperFactory
      hint:     one task instance for each shard is not supported yet; remove the key: one instance gets all shards of its process

    1 problem found
    ");
}

#[test]
fn broadcast_streams() {
    assert_snapshot!(told("task.broadcast.inputs=kinesis.rules#0"), @r"
    error[not-supported]: `task.broadcast.inputs` is not supported
      at:       more.properties:1
      hint:     Kinesis streams cannot be configured as broadcast streams: a shard has one reader; move the stream to `task.inputs`

    1 problem found
    ");
}

#[test]
fn bootstrap_streams() {
    assert_snapshot!(told("systems.kinesis.streams.input0.samza.bootstrap=true"), @r"
    error[not-supported]: `systems.kinesis.streams.input0.samza.bootstrap` is not supported with this value
      at:       more.properties:1
      value:    true
      expected: `false`
      hint:     Kinesis streams cannot be configured as bootstrap streams: a shard's end is not known in advance; remove the key

    1 problem found
    ");
}

#[test]
fn stores() {
    assert_snapshot!(told("stores.counts.factory=org.apache.samza.storage.kv.RocksDbKeyValueStorageEngineFactory"), @r"
    error[not-supported]: `stores.counts.factory` is not supported
      at:       more.properties:1
      hint:     tasks have no stores yet; without one the task would not do what it is written for

    1 problem found
    ");
}

#[test]
fn dropping_errors() {
    assert_snapshot!(told("task.drop.deserialization.errors=true\ntask.ignored.exceptions=*"), @r"
    error[not-supported]: `task.drop.deserialization.errors` is not supported with this value
      at:       more.properties:1
      value:    true
      expected: `false`
      hint:     an envelope is never dropped; a call that keeps failing stops the job

    error[not-supported]: `task.ignored.exceptions` is not supported
      at:       more.properties:2
      hint:     an envelope is never dropped; return ok from the task for what is to be ignored

    2 problems found
    ");
}

#[test]
fn a_consumer_of_another_stream() {
    let lines = "systems.kinesis.aws.kcl.RetrievalMode=FANOUT\n\
        systems.kinesis.aws.kcl.ConsumerArn=arn:aws:kinesis:eu-west-1:123456789012:stream/other/consumer/app:17";
    assert_snapshot!(told(lines), @r"
    error[bad-value]: `arn:aws:kinesis:eu-west-1:123456789012:stream/other/consumer/app:17` is no consumer of the stream `input0`
      at:       more.properties:2
      value:    arn:aws:kinesis:eu-west-1:123456789012:stream/other/consumer/app:17
      expected: arn:aws:kinesis:REGION:ACCOUNT:stream/input0/consumer/NAME:TIME
      hint:     set it at systems.kinesis.streams.input0, or set ConsumerName instead

    1 problem found
    ");
}

#[test]
fn two_inputs_as_one_consumer() {
    let lines = "task.inputs=kinesis.input0, again.input0\n\
        systems.again.samza.factory=kinesis\n\
        systems.again.aws.kcl.TableName=again\n\
        systems.again.aws.kcl.RetrievalMode=FANOUT\n\
        systems.kinesis.aws.kcl.RetrievalMode=FANOUT";
    assert_snapshot!(told(lines), @r"
    error[conflict]: the inputs `kinesis.input0` and `again.input0` would read as the same consumer
      hint:     a consumer has one place at each shard: set systems.again.streams.input0.aws.kcl.ConsumerName

    1 problem found
    ");
}

#[test]
fn a_consumer_with_too_long_a_name() {
    let lines = format!("systems.kinesis.aws.kcl.RetrievalMode=fanout\njob.id={}", "1".repeat(120));
    assert_snapshot!(told(&lines), @r"
    error[bad-value]: `orders-111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111111-input0` cannot be the name of a consumer
      expected: at most 128 characters, a rule of Kinesis
      hint:     set systems.kinesis.streams.input0.aws.kcl.ConsumerName to a shorter name

    1 problem found
    ");
}

#[test]
fn a_proxy_without_its_port() {
    assert_snapshot!(told("systems.kinesis.aws.clientConfig.ProxyHost=proxy.example.com"), @r"
    error[missing-key]: `systems.kinesis.aws.clientConfig.ProxyHost` is set and `systems.kinesis.aws.clientConfig.ProxyPort` is not
      at:       more.properties:1
      value:    proxy.example.com
      expected: both, or neither: without a proxy AWS is called directly
      hint:     add a line systems.kinesis.aws.clientConfig.ProxyPort=..., or remove systems.kinesis.aws.clientConfig.ProxyHost

    1 problem found
    ");
}

#[test]
fn the_port_and_half_a_login_of_no_proxy() {
    let lines = "\
        systems.kinesis.aws.clientConfig.ProxyPort=3128\n\
        systems.kinesis.aws.clientConfig.ProxyPassword=SECRET\n\
        systems.kinesis.aws.clientConfig.NonProxyHosts=localhost\n";
    assert_snapshot!(told(lines), @r"
    error[missing-key]: `systems.kinesis.aws.clientConfig.ProxyPort` is set and `systems.kinesis.aws.clientConfig.ProxyHost` is not
      at:       more.properties:1
      value:    3128
      expected: both, or neither: without a proxy AWS is called directly
      hint:     add a line systems.kinesis.aws.clientConfig.ProxyHost=..., or remove systems.kinesis.aws.clientConfig.ProxyPort

    error[missing-key]: `systems.kinesis.aws.clientConfig.ProxyPassword` is set and `systems.kinesis.aws.clientConfig.ProxyUsername` is not
      at:       more.properties:2
      value:    ********
      expected: both, or neither: without a login the proxy is used as it is
      hint:     add a line systems.kinesis.aws.clientConfig.ProxyUsername=..., or remove systems.kinesis.aws.clientConfig.ProxyPassword

    notice[no-effect]: `systems.kinesis.aws.clientConfig.ProxyPassword` has no effect without ProxyHost (more.properties:2)
    notice[no-effect]: `systems.kinesis.aws.clientConfig.NonProxyHosts` has no effect without ProxyHost (more.properties:3)

    2 problems found
    ");
}

#[test]
fn a_proxy_that_is_written_as_for_other_programs() {
    let lines = "\
        systems.kinesis.aws.clientConfig.ProxyHost=http://proxy.example.com:3128\n\
        systems.kinesis.aws.clientConfig.ProxyPort=3128\n\
        systems.kinesis.aws.clientConfig.NonProxyHosts=localhost,127.0.0.1\n";
    assert_snapshot!(told(lines), @r"
    error[bad-value]: `systems.kinesis.aws.clientConfig.ProxyHost` cannot have this value
      at:       more.properties:1
      value:    http://proxy.example.com:3128
      expected: a host name or an IP address, without a scheme and without a port

    error[bad-value]: `systems.kinesis.aws.clientConfig.NonProxyHosts` cannot have this value
      at:       more.properties:3
      value:    localhost,127.0.0.1
      expected: host names with `|` between, `*` for any characters

    2 problems found
    ");
}

#[test]
fn a_proxy_of_a_windows_domain() {
    let lines = "\
        systems.kinesis.aws.clientConfig.ProxyDomain=CORP\n\
        systems.kinesis.aws.clientConfig.ProxyWorkstation=PC-7\n";
    assert_snapshot!(told(lines), @r"
    error[not-supported]: `systems.kinesis.aws.clientConfig.ProxyDomain` is not supported
      at:       more.properties:1
      hint:     only Basic authentication at a proxy is supported, and none with a Windows domain (NTLM)

    error[not-supported]: `systems.kinesis.aws.clientConfig.ProxyWorkstation` is not supported
      at:       more.properties:2
      hint:     only Basic authentication at a proxy is supported, and none with a Windows domain (NTLM)

    2 problems found
    ");
}

#[test]
fn an_address_without_a_scheme() {
    assert_snapshot!(told("systems.kinesis.streams.input0.aws.kcl.KinesisEndpoint=localhost:4567"), @r"
    error[bad-value]: `systems.kinesis.streams.input0.aws.kcl.KinesisEndpoint` cannot have this value
      at:       more.properties:1
      value:    localhost:4567
      expected: http:// or https:// with a host, and without a user name or password

    1 problem found
    ");
}

#[test]
fn an_address_with_a_login() {
    assert_snapshot!(told("systems.kinesis.streams.input0.aws.kcl.DynamoDBEndpoint=http://user:SECRET@localhost:8000"), @r"
    error[bad-value]: `systems.kinesis.streams.input0.aws.kcl.DynamoDBEndpoint` cannot have this value
      at:       more.properties:1
      value:    ********
      expected: http:// or https:// with a host, and without a user name or password

    1 problem found
    ");
}

#[test]
fn two_regions_for_one_stream() {
    assert_snapshot!(told("systems.kinesis.streams.input0.aws.region=eu-central-1\nsystems.kinesis.streams.input0.aws.kcl.RegionName=us-east-1"), @r"
    error[conflict]: the region of `kinesis.input0` is eu-central-1, and its RegionName us-east-1
      at:       more.properties:1
      value:    eu-central-1
      hint:     remove RegionName

    1 problem found
    ");
}

#[test]
fn one_lease_table_for_two_streams() {
    assert_snapshot!(told("task.inputs=kinesis.a,kinesis.b\nsystems.kinesis.aws.kcl.TableName=leases"), @r"
    error[conflict]: the inputs `kinesis.a` and `kinesis.b` would share the lease table `leases`
      at:       more.properties:2
      value:    leases
      hint:     a table holds the leases of one stream, unless each has a aws.kcl.StreamIdentifier: set systems.kinesis.streams.b.aws.kcl.TableName

    1 problem found
    ");
}

#[test]
fn one_lease_table_for_two_streams_of_which_one_has_no_identifier() {
    let text = "task.inputs=kinesis.a,kinesis.b\nsystems.kinesis.aws.kcl.TableName=leases\n\
                systems.kinesis.streams.a.aws.kcl.StreamIdentifier=1:a:2";
    assert!(told(text).contains("would share the lease table `leases`"), "{}", told(text));
}

#[test]
fn an_identifier_that_is_none_and_one_of_another_stream() {
    assert_snapshot!(told("systems.kinesis.streams.input0.aws.kcl.StreamIdentifier=input0"), @r"
    error[bad-value]: `systems.kinesis.streams.input0.aws.kcl.StreamIdentifier` cannot have this value
      at:       more.properties:1
      value:    input0
      expected: `account:stream:epoch`, with digits at both ends
      hint:     it is the `streamName` of the stream's rows in the lease table

    1 problem found
    ");
    assert_snapshot!(told("systems.kinesis.streams.input0.aws.kcl.StreamIdentifier=1:input1:2"), @r"
    error[conflict]: `systems.kinesis.streams.input0.aws.kcl.StreamIdentifier` names the stream `input1`, and the input is `input0`
      at:       more.properties:1
      value:    1:input1:2
      hint:     take the identifier of this stream

    1 problem found
    ");
}

#[test]
fn a_table_name_that_dynamodb_refuses() {
    assert_snapshot!(told("systems.kinesis.streams.input0.aws.kcl.TableName=t"), @r"
    error[bad-value]: `t` cannot be the name of a table
      at:       more.properties:1
      value:    t
      expected: 3 to 255 characters, a rule of DynamoDB
      hint:     set systems.kinesis.streams.input0.aws.kcl.TableName to another name

    1 problem found
    ");
}

#[test]
fn a_job_name_that_cannot_name_a_table() {
    assert_snapshot!(told("job.name=my orders"), @r"
    error[bad-value]: `job.name` cannot have this value
      at:       more.properties:1
      value:    my orders
      expected: letters, digits, `.`, `-` and `_` only

    1 problem found
    ");
}

#[test]
fn a_path_to_a_module() {
    assert_snapshot!(told("task.class=../word-count.wasm"), @r"
    error[bad-value]: `task.class` cannot have this value
      at:       more.properties:1
      value:    ../word-count.wasm
      expected: the name of a module in the task directory, without a path

    1 problem found
    ");
}

#[test]
fn pauses_in_the_wrong_order() {
    assert_snapshot!(told("task.retry.backoff.ms=20000"), @r"
    error[conflict]: `task.retry.backoff.ms` is longer than `task.retry.backoff.max.ms`
      at:       more.properties:1
      value:    20000
      hint:     lower the one or raise the other

    1 problem found
    ");
}

#[test]
fn a_broken_escape() {
    assert_snapshot!(told("task.config.path=C:\\users"), @r"
    error[bad-syntax]: a broken `\u` escape
      at:       more.properties:1
      expected: `\u` and four hexadecimal digits of a character
      hint:     write the character itself (files are UTF-8), or `\\` for a backslash

    1 problem found
    ");
}

#[test]
fn a_value_without_a_key() {
    assert_snapshot!(told("=5"), @r"
    error[bad-syntax]: a value without a key
      at:       more.properties:1
      expected: key=value
      hint:     write the key, or start the line with `#`

    1 problem found
    ");
}

#[test]
fn a_secret_for_the_task() {
    assert_snapshot!(told("sensitive.task.config.password=SECRET"), @r"
    error[not-supported]: `sensitive.task.config.password` is not supported
      at:       more.properties:1
      hint:     tasks cannot be given secrets yet; there is no masked path to them

    1 problem found
    ");
}

#[test]
fn settings_that_are_the_inputs_own() {
    assert_snapshot!(told("systems.kinesis.streams.input0.aws.kcl.StreamName=x\nsystems.kinesis.streams.input0.aws.kcl.ApplicationName=y"), @r"
    error[not-supported]: `systems.kinesis.streams.input0.aws.kcl.StreamName` is not supported
      at:       more.properties:1
      hint:     the stream is named in `task.inputs`; remove the key

    error[not-supported]: `systems.kinesis.streams.input0.aws.kcl.ApplicationName` is not supported
      at:       more.properties:2
      hint:     as in Samza it is always `<job.name>-<job.id>-<stream>`; set TableName to use the lease table of another application

    2 problems found
    ");
}

#[test]
fn a_java_class_is_no_module() {
    let text = told("task.class=com.acme.clicks.EnricherTask\n");
    let hint = "hint:     a task is a WebAssembly module, not a Java class: `task.class=enricher` runs `enricher.wasm` of the task directory";
    assert!(text.contains("error[bad-value]: `task.class` cannot have this value") && text.contains(hint), "{text}");
}

#[test]
fn a_key_of_the_tasks_own_has_its_place() {
    let text = told("acme.flag=1\n");
    assert!(
        text.contains("hint:     keys for the task are written task.config.NAME, as task.config.acme.flag"),
        "{text}"
    );
}

/// What belongs to a system that cannot be used is not told key by key.
#[test]
fn a_system_of_another_kind_is_one_problem() {
    let text = told(
        "systems.kafka.samza.factory=org.apache.samza.system.kafka.KafkaSystemFactory\n\
         systems.kafka.consumer.zookeeper.connect=z:2181\n\
         systems.kafka.producer.bootstrap.servers=b:9092\n\
         systems.kafka.samza.msg.serde=json\n",
    );
    assert_snapshot!(text, @r"
    error[not-supported]: `systems.kafka.samza.factory` names no system that is known here
      at:       more.properties:1
      value:    org.apache.samza.system.kafka.KafkaSystemFactory
      expected: `kinesis` for inputs, `console` or `file` for outputs, or Samza's class names of these
      hint:     only Kinesis streams can be read so far, and outputs written to the console or a file

    notice[no-effect]: 2 more keys are set for the system `kafka`, and not looked at without a factory that is known (more.properties:1)
    notice[no-meaning]: `systems.kafka.samza.msg.serde` has no meaning here: keys are text and messages are bytes; the task decodes them (more.properties:4)

    1 problem found
    ");
}
