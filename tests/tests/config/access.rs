//! Who calls AWS and where: credentials, roles, regions, for a stream, its system and DynamoDB.

use insta::assert_snapshot;
use shardmill_core::config::{Access, Credentials, Role, render_check};

use super::{input, job_with, told};

const STREAM: &str = "systems.kinesis.streams.input0.aws";
const SYSTEM: &str = "systems.kinesis.aws";
const ROLE: &str = "arn:aws:iam::123456789012:role/reader";

/// A pair of keys at a place, in the lines of a file.
fn pair(place: &str, key: &str) -> String {
    format!("{place}.accessKey={key}\nsensitive.{place}.secretKey=secret\n")
}

/// Where credentials come from, in a word.
fn word(credentials: &Credentials) -> &str {
    match credentials {
        Credentials::Chain => "chain",
        Credentials::Static(given) => &given.access_key,
        Credentials::Profile(name) => name,
    }
}

/// Whose credentials, and the name of the role behind it.
fn who(access: &Access) -> (&str, Option<&str>) {
    (word(&access.credentials), access.role.as_ref().map(|role| role.arn.rsplit('/').next().unwrap_or_default()))
}

#[test]
fn the_level_that_says_whose_credentials_decides_and_a_role_is_assumed_with_them() {
    let role = |place: &str| format!("{place}.roleArn={ROLE}\n");
    let reader = Some("reader");
    for (lines, meant) in [
        (String::new(), ("chain", None)),
        (pair(SYSTEM, "SYS"), ("SYS", None)),
        (pair(SYSTEM, "SYS") + &pair(STREAM, "OWN"), ("OWN", None)),
        (format!("{SYSTEM}.profile=ops"), ("ops", None)),
        (pair(SYSTEM, "SYS") + &format!("{STREAM}.profile=ops"), ("ops", None)),
        (role(STREAM), ("chain", reader)),
        (role(SYSTEM), ("chain", reader)),
        (pair(SYSTEM, "SYS") + &role(SYSTEM), ("SYS", reader)),
        (pair(SYSTEM, "SYS") + &role(STREAM), ("SYS", reader)),
        (pair(STREAM, "OWN") + &role(STREAM), ("OWN", reader)),
        (pair(STREAM, "OWN") + &role(SYSTEM), ("OWN", None)),
    ] {
        let input = input(&lines);
        assert_eq!(who(&input.kinesis), meant, "{lines}");
        assert_eq!(input.dynamodb, input.kinesis, "{lines}");
    }
}

#[test]
fn dynamodb_may_have_its_own() {
    let own = |lines: &str| pair(STREAM, "OWN") + &format!("{STREAM}.roleArn={ROLE}\n") + lines;
    let leases = "arn:aws:iam::123456789012:role/leases";
    for (lines, meant) in [
        (own(""), ("OWN", Some("reader"))),
        (own(&pair("systems.kinesis.aws.dynamodb", "TABLE")), ("TABLE", None)),
        (own(&format!("{STREAM}.dynamodb.profile=ops")), ("ops", None)),
        (own(&format!("{SYSTEM}.dynamodb.roleArn={leases}")), ("OWN", Some("leases"))),
    ] {
        let input = input(&lines);
        assert_eq!(who(&input.kinesis), ("OWN", Some("reader")), "{lines}");
        assert_eq!(who(&input.dynamodb), meant, "{lines}");
    }
    let lines = format!("{SYSTEM}.region=eu-west-1\n{STREAM}.dynamodb.region=eu-central-1\n");
    let input = input(&lines);
    assert_eq!(
        (input.kinesis.region.as_deref(), input.dynamodb.region.as_deref()),
        (Some("eu-west-1"), Some("eu-central-1"))
    );
}

#[test]
fn a_role_has_its_details_from_either_level() {
    let lines = format!(
        "{STREAM}.roleArn={ROLE}\n{SYSTEM}.externalId=tenant-7\n{SYSTEM}.stsEndpoint=http://127.0.0.1:9\n\
         {STREAM}.roleSessionName=audit\n"
    );
    let role = Role {
        arn: ROLE.to_owned(),
        external_id: Some("tenant-7".to_owned()),
        session_name: "audit".to_owned(),
        sts_endpoint: Some("http://127.0.0.1:9".to_owned()),
    };
    assert_eq!(input(&lines).kinesis.role, Some(role));
    let plain = input(&format!("{STREAM}.roleArn={ROLE}\n")).kinesis.role.expect("a role");
    assert_eq!((plain.session_name.as_str(), plain.external_id, plain.sts_endpoint), ("orders-1", None, None));
    let long = format!("job.name={}\n{STREAM}.roleArn={ROLE}\n", "n".repeat(100));
    assert_eq!(input(&long).kinesis.role.expect("a role").session_name, "n".repeat(64));
}

#[test]
fn a_stream_of_another_account_is_named_by_its_arn() {
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/input0";
    let input = input(&format!("{STREAM}.kcl.StreamArn={arn}\n"));
    assert_eq!((input.stream.as_str(), input.stream_id()), ("input0", arn));
    assert_eq!(input.kinesis.region.as_deref(), Some("eu-west-1"), "the ARN's, when no other is set");
    assert_eq!(input.table.name, "orders-1-input0");
}

#[test]
fn half_a_pair_of_keys() {
    assert_snapshot!(told(&format!("{SYSTEM}.accessKey=AK\nsensitive.{STREAM}.secretKey=SECRET\n")), @r"
    error[incomplete-credentials]: `sensitive.systems.kinesis.streams.input0.aws.secretKey` is set and `systems.kinesis.streams.input0.aws.accessKey` is not
      at:       more.properties:2
      value:    ********
      expected: access key and secret key, or neither: then the AWS default chain is asked
      hint:     add a line systems.kinesis.streams.input0.aws.accessKey=..., or remove sensitive.systems.kinesis.streams.input0.aws.secretKey

    notice[no-effect]: `systems.kinesis.aws.accessKey` has no effect: nothing the job does with the system `kinesis` asks for it (more.properties:1)

    1 problem found
    ");
    assert_snapshot!(told(&format!("sensitive.{SYSTEM}.dynamodb.sessionToken=SECRET\n")), @r"
    error[incomplete-credentials]: `sensitive.systems.kinesis.aws.dynamodb.sessionToken` is set and `systems.kinesis.aws.dynamodb.accessKey` is not
      at:       more.properties:1
      value:    ********
      expected: access key and secret key, or neither: then the AWS default chain is asked
      hint:     add a line systems.kinesis.aws.dynamodb.accessKey=..., or remove sensitive.systems.kinesis.aws.dynamodb.sessionToken

    1 problem found
    ");
}

#[test]
fn a_profile_beside_a_pair_of_keys() {
    assert_snapshot!(told(&(pair(STREAM, "AK") + &format!("{STREAM}.profile=ops\n"))), @r"
    error[conflict]: `systems.kinesis.streams.input0.aws.profile` and `systems.kinesis.streams.input0.aws.accessKey` both say whose credentials are used
      at:       more.properties:3
      value:    ops
      hint:     remove the one or the other

    1 problem found
    ");
}

#[test]
fn an_external_id_without_a_role() {
    assert_snapshot!(told(&format!("{STREAM}.externalId=tenant-7\n{STREAM}.dynamodb.roleSessionName=audit\n")), @r"
    error[missing-key]: `systems.kinesis.streams.input0.aws.externalId` is set and `systems.kinesis.streams.input0.aws.roleArn` is not
      at:       more.properties:1
      value:    tenant-7
      expected: a role that is assumed with it
      hint:     add a line systems.kinesis.streams.input0.aws.roleArn=..., or remove systems.kinesis.streams.input0.aws.externalId

    error[missing-key]: `systems.kinesis.streams.input0.aws.dynamodb.roleSessionName` is set and `systems.kinesis.streams.input0.aws.dynamodb.roleArn` is not
      at:       more.properties:2
      value:    audit
      expected: a role that is assumed with it
      hint:     add a line systems.kinesis.streams.input0.aws.dynamodb.roleArn=..., or remove systems.kinesis.streams.input0.aws.dynamodb.roleSessionName

    2 problems found
    ");
}

#[test]
fn roles_and_arns_that_are_none() {
    assert_snapshot!(told(&format!(
        "{STREAM}.roleArn=reader\n{STREAM}.roleSessionName=a b\n{STREAM}.kcl.StreamArn=arn:aws:kinesis:eu-west-1:1:stream/input0\n"
    )), @r"
    error[bad-value]: `systems.kinesis.streams.input0.aws.roleArn` cannot have this value
      at:       more.properties:1
      value:    reader
      expected: arn:aws:iam::ACCOUNT:role/NAME

    error[bad-value]: `systems.kinesis.streams.input0.aws.roleSessionName` cannot have this value
      at:       more.properties:2
      value:    a b
      expected: 2 to 64 letters, digits and `_+=,.@-`

    error[bad-value]: `systems.kinesis.streams.input0.aws.kcl.StreamArn` cannot have this value
      at:       more.properties:3
      value:    arn:aws:kinesis:eu-west-1:1:stream/input0
      expected: arn:aws:kinesis:REGION:ACCOUNT:stream/NAME

    3 problems found
    ");
}

#[test]
fn an_arn_of_another_stream_or_region() {
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream";
    assert_snapshot!(told(&format!("{STREAM}.kcl.StreamArn={arn}/orders\n")), @r"
    error[bad-value]: `arn:aws:kinesis:eu-west-1:123456789012:stream/orders` is not the ARN of the stream `input0`
      at:       more.properties:1
      value:    arn:aws:kinesis:eu-west-1:123456789012:stream/orders
      expected: arn:aws:kinesis:REGION:ACCOUNT:stream/input0
      hint:     the stream is named in `task.inputs`; its ARN says in which account it is

    1 problem found
    ");
    assert_snapshot!(told(&format!("{STREAM}.kcl.StreamArn={arn}/input0\n{SYSTEM}.region=us-east-1\n")), @r"
    error[conflict]: the region of `kinesis.input0` is us-east-1, and its StreamArn is of eu-west-1
      at:       more.properties:1
      value:    arn:aws:kinesis:eu-west-1:123456789012:stream/input0
      hint:     set the region of the ARN

    1 problem found
    ");
    let of_all = format!("task.inputs=kinesis.input0,kinesis.b\n{SYSTEM}.kcl.StreamArn={arn}/input0\n");
    assert_snapshot!(told(&of_all), @r"
    error[bad-value]: `arn:aws:kinesis:eu-west-1:123456789012:stream/input0` is not the ARN of the stream `b`
      at:       more.properties:2
      value:    arn:aws:kinesis:eu-west-1:123456789012:stream/input0
      expected: arn:aws:kinesis:REGION:ACCOUNT:stream/b
      hint:     the stream is named in `task.inputs`; its ARN says in which account it is

    1 problem found
    ");
}

#[test]
fn classes_of_credentials_providers() {
    assert_snapshot!(told(&format!("{SYSTEM}.kcl.AwsCredentialsProvider=DefaultCredentialsProvider\n")), @r"
    error[not-supported]: `systems.kinesis.aws.kcl.AwsCredentialsProvider` is not supported
      at:       more.properties:1
      hint:     classes cannot be loaded here: set `aws.accessKey`, `aws.profile` or `aws.roleArn`, and the same below `aws.dynamodb.`

    1 problem found
    ");
}

#[test]
fn secrets_without_their_prefix() {
    assert_snapshot!(told(&format!("{SYSTEM}.accessKey=AK\n{SYSTEM}.secretKey=SECRET\n{SYSTEM}.dynamodb.secretKey=SECRET\n")), @r"
    error[secret-not-marked]: `systems.kinesis.aws.secretKey` holds a secret, so its name must say so
      at:       more.properties:2
      nearest:  sensitive.systems.kinesis.aws.secretKey
      hint:     write sensitive.systems.kinesis.aws.secretKey; values of `sensitive.` keys are masked everywhere

    error[secret-not-marked]: `systems.kinesis.aws.dynamodb.secretKey` holds a secret, so its name must say so
      at:       more.properties:3
      nearest:  sensitive.systems.kinesis.aws.dynamodb.secretKey
      hint:     write sensitive.systems.kinesis.aws.dynamodb.secretKey; values of `sensitive.` keys are masked everywhere

    2 problems found
    ");
}

#[test]
fn a_probably_mistaken_region_or_system_gets_a_notice() {
    let lines = format!("{STREAM}.dynamodb.region=Frankfurt\n{SYSTEM}.externalId=tenant-7\n{SYSTEM}.roleArn={ROLE}\n");
    assert_snapshot!(render_check(&job_with(&(lines + &pair(STREAM, "OWN")))), @r"
    notice[suspicious]: `Frankfurt` does not look like an AWS region such as eu-central-1 (more.properties:1)
    notice[no-effect]: `systems.kinesis.aws.externalId` has no effect: nothing the job does with the system `kinesis` asks for it (more.properties:2)
    notice[no-effect]: `systems.kinesis.aws.roleArn` has no effect: nothing the job does with the system `kinesis` asks for it (more.properties:3)
    ok: job orders-1 runs word-count on kinesis.input0, without outputs
    keys: 9 set, 2 without an effect: see the notices
    ");
}
