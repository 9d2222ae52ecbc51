//! What stands in for AWS in one test: a local backend of its own, and a directory for files. Knows nothing of what a
//! test reads from it.

use std::fs;
use std::path::PathBuf;

use shardmill_aws::LeaseTable;
use shardmill_core::config::{Access, ClientSettings, Secret, StaticCredentials};
use shardmill_core::leases::Lease;
use shardmill_local::{Faults, Journal, Kinesis, LocalBackend, Options, Record};
use tempfile::TempDir;

use crate::properties::Properties;

/// How a service of a local backend is reached.
#[must_use]
pub fn access(endpoint: String) -> Access {
    let credentials =
        StaticCredentials { access_key: "test".to_owned(), secret_key: Secret::new("test"), session_token: None };
    Access {
        region: Some("us-east-1".to_owned()),
        endpoint: Some(endpoint),
        credentials: credentials.into(),
        role: None,
    }
}

/// An AWS account that lives as long as the test.
pub struct Account {
    backend: LocalBackend,
    directory: TempDir,
}

impl Account {
    /// An empty account, without AWS's limits on reads and writes: a test that waits for them is slow.
    ///
    /// # Panics
    /// When no port or directory can be had.
    #[must_use]
    pub fn new() -> Self {
        Self::with(Options { limits: false, ..Options::default() })
    }

    /// An empty account as `options` say.
    ///
    /// # Panics
    /// When no port or directory can be had.
    #[must_use]
    pub fn with(options: Options) -> Self {
        let backend = LocalBackend::start(options).expect("the local backend starts");
        Self { backend, directory: tempfile::tempdir().expect("a temporary directory") }
    }

    /// The streams, past HTTP.
    #[must_use]
    pub fn kinesis(&self) -> &Kinesis {
        self.backend.kinesis()
    }

    #[must_use]
    pub fn faults(&self) -> &Faults {
        self.backend.faults()
    }

    #[must_use]
    pub fn dynamodb_faults(&self) -> &Faults {
        self.backend.dynamodb_faults()
    }

    /// Notes the calls of these operations from now on.
    #[must_use]
    pub fn journal(&self, operations: &[&str]) -> Journal {
        self.backend.journal(operations)
    }

    /// Where Kinesis and DynamoDB are, in this order.
    #[must_use]
    pub fn endpoints(&self) -> [String; 2] {
        [self.backend.kinesis_endpoint(), self.backend.dynamodb_endpoint()]
    }

    /// A stream with records in it is a truth to compare outputs with.
    ///
    /// # Panics
    /// When it exists.
    pub fn stream(&self, name: &str, shards: u32) {
        self.kinesis().create_stream(name, shards).expect("the stream is new");
    }

    /// Every record of a stream, shard by shard, in order.
    ///
    /// # Panics
    /// When there is no such stream.
    #[must_use]
    pub fn records(&self, stream: &str) -> Vec<Record> {
        self.kinesis().read_all(stream).expect("the stream exists")
    }

    /// The configuration of the job `test` that echoes these streams, from their beginning, into [`Account::output`].
    #[must_use]
    pub fn properties(&self, streams: &[&str]) -> Properties {
        let (kinesis, dynamodb) = (self.backend.kinesis_endpoint(), self.backend.dynamodb_endpoint());
        Properties::echo(streams, &kinesis, &dynamodb, &self.output())
    }

    /// A path in the directory of this test.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The file that the job writes to.
    #[must_use]
    pub fn output(&self) -> PathBuf {
        self.path("out.jsonl")
    }

    /// A task directory with these modules in it.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn tasks(&self, modules: &[PathBuf]) -> PathBuf {
        let tasks = self.path("tasks");
        fs::create_dir_all(&tasks).expect("the directory of this test can be written");
        for module in modules {
            let name = module.file_name().expect("a module has a name").to_string_lossy().replace('_', "-");
            // Another process may be reading the one that is there.
            let copy = tasks.join(format!("{name}.copy"));
            fs::copy(module, &copy).expect("the directory of this test can be written");
            fs::rename(copy, tasks.join(name)).expect("the directory of this test can be written");
        }
        tasks
    }

    /// The configuration file of the binary.
    #[must_use]
    pub fn configuration(&self) -> PathBuf {
        self.path("job.properties")
    }

    /// Writes the configuration file.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn configure(&self, properties: &Properties) {
        fs::write(self.configuration(), properties.text()).expect("the directory of this test can be written");
    }

    /// The lease table of a job's stream.
    ///
    /// # Panics
    /// Never: nothing is looked up.
    pub async fn lease_table(&self, table: &str) -> LeaseTable {
        let access = access(self.backend.dynamodb_endpoint());
        LeaseTable::new(&access, &ClientSettings::default(), table).await.expect("region and credentials are given")
    }

    /// The rows of the lease table of the job `test`, by shard; none while there is no table.
    pub async fn leases(&self, stream: &str) -> Vec<Lease> {
        let table = self.lease_table(&table_name(stream)).await;
        let mut leases = table.scan().await.map(|scan| scan.leases).unwrap_or_default();
        leases.sort_by(|a, b| a.key.cmp(&b.key));
        leases
    }
}

impl Default for Account {
    fn default() -> Self {
        Self::new()
    }
}

/// The lease table of the job `test` for a stream.
#[must_use]
pub fn table_name(stream: &str) -> String {
    format!("test-1-{stream}")
}
