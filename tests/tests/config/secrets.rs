//! Secrets are in no text that anything here can make, whatever key they stand under and whatever else is wrong.

use std::collections::BTreeMap;

use proptest::prelude::*;
use shardmill_core::config::{self, Credentials, Input, Source};

use super::{JOB, file};

/// Keys that people put secrets under: right, misspelt, in the wrong place.
const KEYS: [&str; 22] = [
    "sensitive.systems.kinesis.streams.input0.aws.secretKey",
    "sensitive.systems.kinesis.streams.input0.aws.sessionToken",
    "systems.kinesis.streams.input0.aws.secretKey",
    "systems.kinesis.streams.input0.aws.sessionToken",
    "sensitve.systems.kinesis.streams.input0.aws.secretKey",
    "sensitive.systems.kinesis.streams.input0.aws.secretkey",
    "sensitive.systems.kinesis.streams.other.aws.secretKey",
    "sensitive.systems.kinesis.aws.secretKey",
    "sensitive.systems.kinesis.aws.sessionToken",
    "systems.kinesis.aws.secretKey",
    "sensitive.systems.kinesis.streams.input0.aws.dynamodb.secretKey",
    "systems.kinesis.aws.dynamodb.secretKey",
    "systems.kinesis.aws.dynamodb.sesionToken",
    "systems.kinesis.aws.clientConfig.Headers.X-Api-Key",
    "sensitive.systems.kinesis.aws.clientConfig.Headers.Authorization",
    "systems.kinesis.aws.clientConfig.Header.X-Api-Key",
    "systems.kinesis.streams.input0.aws.scretKy",
    "systems.kinesis.aws.clientConfig.ProxyPassword",
    "sensitive.systems.kinesis.aws.clientConfig.ProxyPassword",
    "sensitive.task.config.key",
    "sensitive.job.name",
    "some.key",
];

/// Keys of secrets, as they are right.
const SENSITIVE_KEYS: [&str; 10] = [
    "sensitive.systems.kinesis.streams.input0.aws.secretKey",
    "sensitive.systems.kinesis.streams.input0.aws.sessionToken",
    "sensitive.systems.kinesis.aws.secretKey",
    "systems.kinesis.aws.secretKey",
    "sensitive.systems.kinesis.aws.dynamodb.secretKey",
    "sensitive.systems.kinesis.aws.clientConfig.ProxyPassword",
    "systems.kinesis.aws.clientConfig.ProxyPassword",
    "sensitive.systems.kinesis.aws.clientConfig.Headers.X-Api-Key",
    "sensitive.task.config.key",
    "sensitive.x",
];

/// What may stand where `=` is meant: nothing, signs, blanks that are none to Java, escapes.
const MANGLED: [&str; 18] = [
    "", "?", "-", "_", ".", ";", "/", "|", "->", "\u{a0}", "\u{3000}", "\u{ff1a}", "\\=", "\\:", "\\ ", "\\\n",
    "\u{200b}", "*",
];

/// With these lines a password for the proxy is in order.
const PROXY: &str = "systems.kinesis.aws.clientConfig.ProxyHost=proxy.example.com\n\
                     systems.kinesis.aws.clientConfig.ProxyPort=3128\n\
                     systems.kinesis.aws.clientConfig.ProxyUsername=me\n";

/// With these lines a secret key of the system or of DynamoDB is in order, and a role is assumed with it.
const ROLE: &str = "systems.kinesis.aws.accessKey=AK\n\
                    systems.kinesis.streams.input0.aws.dynamodb.accessKey=AK\n\
                    systems.kinesis.aws.roleArn=arn:aws:iam::123456789012:role/reader\n";

/// Everything that a configuration can be turned into as text.
fn texts(sources: &[Source], env: &BTreeMap<String, String>, lenient: bool) -> String {
    match config::load(sources, env, lenient) {
        Ok(loaded) => {
            let check = config::render_check(&loaded);
            format!("{check}{}{}{loaded:?}", config::render_show(&loaded), config::render_notices(&loaded.notices))
        }
        Err(errors) => format!("{}{errors}{errors:?}", config::render_problems(&errors)),
    }
}

proptest! {
    #[test]
    fn no_text_holds_a_secret(
        secret in "[a-zA-Z0-9/+]{16,40}",
        key in prop::sample::select(KEYS.as_slice()),
        separator in prop::sample::select(["=", ":", " = ", " "].as_slice()),
        other in prop::sample::select(["", "task.commit.ms=soon\n", "systems.kinesis.streams.input0.aws.accessKey=AK\n", ROLE, PROXY].as_slice()),
        by_argument: bool,
        lenient: bool,
    ) {
        let line = format!("{key}{separator}{secret}");
        let argument = if by_argument { format!("{key}={secret}") } else { "job.id=2".to_owned() };
        let more = format!("{other}{}", if by_argument { "" } else { &line });
        let sources = [file("job.properties", JOB), file("more.properties", &more), Source::Override(argument)];
        prop_assert!(!texts(&sources, &BTreeMap::new(), lenient).contains(&secret));
    }

    /// What was meant to be the value has become a part of the key.
    #[test]
    fn no_text_holds_a_secret_behind_a_mangled_separator(
        secret in "[a-zA-Z0-9/+]{16,40}={0,2}",
        key in prop::sample::select(SENSITIVE_KEYS.as_slice()),
        separator in prop::sample::select(MANGLED.as_slice()),
        before in prop::sample::select(["", "  ", "systems.kinesis.aws.accessKey=AK\\\n"].as_slice()),
        by_argument: bool,
        lenient: bool,
        by_author: bool,
    ) {
        let line = format!("{key}{separator}{secret}");
        let argument = if by_argument { line.clone() } else { "task.commit.ms=7".to_owned() };
        let text = if by_argument { String::new() } else { format!("{before}{line}\n{line}\n") };
        let more = if by_author {
            Source::Job { name: "more.properties".to_owned(), text }
        } else {
            file("more.properties", &text)
        };
        let sources = [file("job.properties", JOB), more, Source::Override(argument)];
        let all = texts(&sources, &BTreeMap::new(), lenient).to_lowercase();
        // Base64 may end in what separates a key from its value.
        let secret = secret.trim_end_matches('=').to_lowercase();
        prop_assert!(!all.contains(&secret), "{}", all);
    }

    #[test]
    fn no_text_holds_what_stands_on_a_broken_line(secret in "[a-zA-Z0-9/+]{16,40}") {
        let lines = format!("{secret}\nsensitive.x={secret}\\u00\n={secret}\n");
        let sources = [file("job.properties", JOB), file("more.properties", &lines), Source::Override(secret.clone())];
        prop_assert!(!texts(&sources, &BTreeMap::new(), false).contains(&secret));
    }

    #[test]
    fn no_text_holds_the_login_of_an_address(secret in "[a-zA-Z0-9]{16,40}") {
        let address = format!("http://user:{secret}@host:1");
        let line = format!("systems.kinesis.aws.kcl.KinesisEndpoint={address}");
        let env = BTreeMap::from([("AWS_ENDPOINT_URL".to_owned(), address)]);
        let sources = [file("job.properties", JOB), file("more.properties", &line)];
        prop_assert!(!texts(&sources, &env, false).contains(&secret));
        prop_assert!(!texts(&sources[..1], &env, false).contains(&secret));
    }
}

/// The other side of the property: a secret that is set does arrive.
#[test]
fn secrets_arrive() {
    let lines = "systems.kinesis.streams.input0.aws.accessKey=AK\n\
                 sensitive.systems.kinesis.streams.input0.aws.secretKey=one\n\
                 sensitive.systems.kinesis.streams.input0.aws.sessionToken=two\n\
                 systems.kinesis.streams.input0.aws.dynamodb.accessKey=AK\n\
                 sensitive.systems.kinesis.aws.dynamodb.secretKey=none\n\
                 sensitive.systems.kinesis.streams.input0.aws.dynamodb.secretKey=four\n\
                 systems.kinesis.aws.clientConfig.ProxyPassword=three\n\
                 sensitive.systems.kinesis.aws.clientConfig.Headers.X-Api-Key=five\n";
    let loaded = super::job_with(&format!("{lines}{PROXY}"));
    let Input::Kinesis(input) = &loaded.job.inputs[0];
    let Credentials::Static(credentials) = &input.kinesis.credentials else { panic!("no pair of keys") };
    let token = credentials.session_token.as_ref().expect("a token");
    assert_eq!((credentials.secret_key.expose(), token.expose()), ("one", "two"));
    let Credentials::Static(dynamodb) = &input.dynamodb.credentials else { panic!("no pair of keys") };
    assert_eq!((dynamodb.secret_key.expose(), input.client.headers.more["x-api-key"].expose()), ("four", "five"));
    let login = input.client.proxy.as_ref().and_then(|proxy| proxy.login.as_ref()).expect("a login");
    assert_eq!((login.username.as_str(), login.password.expose()), ("me", "three"));
    assert_eq!(format!("{} {:?} {}", credentials.secret_key, token, login.password), "******** ******** ********");
}
