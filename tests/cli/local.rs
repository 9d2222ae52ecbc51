//! `shardmill local`: the backend as a process of its own.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use shardmill_aws::Kinesis;
use shardmill_core::config::ClientSettings;
use shardmill_tests::account::access;
use shardmill_tests::process::{Signal, send, wait};

use crate::shell::{command, shardmill};

/// A running `shardmill local --json` on free ports.
pub(crate) struct Local {
    child: Child,
    pub(crate) kinesis: String,
    pub(crate) dynamodb: String,
}

impl Local {
    pub(crate) fn start(more: &[&str]) -> Self {
        let mut command = command(&["local", "--kinesis-port", "0", "--dynamodb-port", "0", "--json"]);
        let mut child =
            command.args(more).env("RUST_LOG", "off").stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let endpoints: Value = serde_json::from_str(&line).unwrap();
        let endpoint = |name: &str| endpoints[name].as_str().unwrap().to_owned();
        Self { child, kinesis: endpoint("kinesis"), dynamodb: endpoint("dynamodb") }
    }

    /// A client of its Kinesis.
    pub(crate) async fn client(&self) -> Kinesis {
        Kinesis::new(&access(self.kinesis.clone()), &ClientSettings::default()).await.unwrap()
    }

    /// Puts one record.
    pub(crate) async fn put(&self, stream: &str, text: &str) {
        let records: [(Option<&str>, &[u8]); 1] = [(Some(text), text.as_bytes())];
        assert_eq!(self.client().await.put_records(stream, &records).await.unwrap(), []);
    }

    /// What the export lines of `shardmill local` do to a shell.
    pub(crate) fn environment<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("AWS_ENDPOINT_URL_KINESIS", &self.kinesis)
            .env("AWS_ENDPOINT_URL_DYNAMODB", &self.dynamodb)
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ACCESS_KEY_ID", "local")
            .env("AWS_SECRET_ACCESS_KEY", "local")
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn it_listens_at_the_announced_address_until_it_is_stopped() {
    for signal in [Signal::Interrupt, Signal::Terminate] {
        let mut local = Local::start(&["--stream", "orders:4"]);
        for endpoint in [&local.kinesis, &local.dynamodb] {
            let address = endpoint.strip_prefix("http://").unwrap();
            assert!(address.starts_with("127.0.0.1:"), "{address}: it must not be reached from outside");
            TcpStream::connect(address).unwrap();
        }
        send(&local.child, signal);
        assert_eq!(wait(&mut local.child).code(), Some(0), "{signal:?}");
    }
}

#[test]
fn people_get_the_lines_for_their_shell() {
    let mut command = command(&["local", "--kinesis-port", "0", "--dynamodb-port", "0", "--stream", "orders:4"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut lines = String::new();
    while !lines.contains("AWS_SECRET_ACCESS_KEY") {
        assert!(stdout.read_line(&mut lines).unwrap() > 0, "it ended: {lines}");
    }
    send(&child, Signal::Interrupt);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let text = format!("--- stdout\n{lines}--- stderr\n{}", String::from_utf8(output.stderr).unwrap());
    insta::assert_snapshot!("local", without_ports(&text));
}

/// Replaces each free port by a word.
fn without_ports(text: &str) -> String {
    let mut parts = text.split("127.0.0.1:");
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        out.push_str("127.0.0.1:PORT");
        out.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    out
}

#[test]
fn an_impossible_request_is_an_error_with_a_reason() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = shardmill(&["local", "--kinesis-port", &port, "--dynamodb-port", "0"]);
    assert_eq!(said.code, Some(1));
    insta::assert_snapshot!("local_port_taken", without_ports(&said.stderr));

    let said = shardmill(&["local", "--kinesis-port", "0", "--dynamodb-port", "0", "--stream", "orders:many"]);
    assert_eq!(said.code, Some(64));
    insta::assert_snapshot!("local_bad_stream", said.stderr);
}
