//! The local backend: Kinesis and DynamoDB on 127.0.0.1, for tests, the demo and development without an AWS account.
//!
//! [`LocalBackend::start`] runs both behind HTTP on dedicated threads, so that it never shares a runtime with the consumer
//! under test. Kinesis is the model in [`model`], DynamoDB is `dynoxide-rs`. Tests access the model directly through
//! [`LocalBackend::kinesis`], inject faults with [`LocalBackend::faults`] and [`LocalBackend::dynamodb_faults`], and
//! inspect the calls of clients with [`LocalBackend::journal`].
//!
//! Streams and tables live in memory, and survive a restart in [`Options::data_dir`] if one is given.
//!
//! This crate knows nothing of the host: no leases, no tasks, no AWS SDK.

mod clock;
mod dynamodb;
mod faults;
mod http;
mod journal;
mod keeper;
mod kinesis;
pub mod model;
mod ops;
mod protocol;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;

pub use clock::Clock;
pub use dynamodb::LOG_DIRECTIVE as DYNAMODB_LOG_DIRECTIVE;
pub use faults::{Fault, FaultAction, FaultHandle, Faults};
pub use journal::{Call, Journal};
pub use kinesis::{Kinesis, Record, StreamSpec, StreamSpecError};

use model::{Model, ModelConfig};

/// The options of a [`LocalBackend`]. By default it behaves as AWS, on free ports, in memory.
#[derive(Debug, Clone)]
pub struct Options {
    /// Port of Kinesis, 0 for a free one.
    pub kinesis_port: u16,
    /// Port of DynamoDB, 0 for a free one.
    pub dynamodb_port: u16,
    /// The directory for streams and tables; `None`: in memory only.
    pub data_dir: Option<PathBuf>,
    /// Whether to enforce Kinesis's rate limits and quotas.
    pub limits: bool,
    /// How long a shard iterator can be used.
    pub iterator_ttl: Duration,
    /// How long a subscription to a shard lives.
    pub subscription_life: Duration,
    /// How long streams and consumers stay CREATING, UPDATING or DELETING.
    pub state_delay: Duration,
    /// The region in ARNs.
    pub region: String,
    /// The time of the Kinesis model.
    pub clock: Clock,
}

impl Default for Options {
    fn default() -> Self {
        let model = ModelConfig::default();
        Self {
            kinesis_port: 0,
            dynamodb_port: 0,
            data_dir: None,
            limits: model.limits,
            iterator_ttl: Duration::from_millis(model.iterator_ttl),
            subscription_life: Duration::from_millis(model.subscription_life),
            state_delay: Duration::from_millis(model.state_delay),
            region: model.region,
            clock: Clock::system(),
        }
    }
}

/// Why the local backend did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Most likely the port is in use.
    #[error("{service} cannot listen on {address} (choose another port, or stop what listens there)")]
    Bind {
        /// Which of the two services.
        service: &'static str,
        /// The address that it tried to listen on.
        address: SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The database cannot be opened.
    #[error("DynamoDB cannot open its data in {}: {reason}", path.display())]
    Data {
        /// The directory or file.
        path: PathBuf,
        /// The database's error.
        reason: String,
    },
    /// The persisted streams cannot be used.
    #[error("Kinesis cannot use its data in {}: {reason}", path.display())]
    Streams {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The system cannot create a thread or runtime.
    #[error("cannot start the threads of the local backend: {0}")]
    Threads(#[from] std::io::Error),
}

/// A running Kinesis and DynamoDB. Stops when it is dropped or shut down.
#[derive(Debug)]
pub struct LocalBackend {
    kinesis: Kinesis,
    faults: Faults,
    dynamodb_faults: Faults,
    journal: Journal,
    kinesis_addr: SocketAddr,
    dynamodb_addr: SocketAddr,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl LocalBackend {
    /// Starts both services; they are ready when this returns.
    ///
    /// Can be called inside a tokio runtime or outside of one.
    ///
    /// # Errors
    /// When a port is in use, the data directory cannot be used, or no threads can be created.
    pub fn start(options: Options) -> Result<Self, Error> {
        let (kinesis_listener, kinesis_addr) = bind("Kinesis", options.kinesis_port)?;
        let (dynamodb_listener, dynamodb_addr) = bind("DynamoDB", options.dynamodb_port)?;
        let model = Model::new(ModelConfig {
            limits: options.limits,
            iterator_ttl: millis(options.iterator_ttl),
            subscription_life: millis(options.subscription_life),
            state_delay: millis(options.state_delay),
            region: options.region,
        });
        let model = match &options.data_dir {
            Some(data_dir) => {
                let keeper = keeper::Keeper::open(data_dir, &model, options.clock.clone())?;
                model.kept_by(Arc::new(keeper))
            }
            None => model,
        };
        let kinesis = Kinesis::new(Arc::new(model), options.clock);
        let (faults, dynamodb_faults, journal) = (Faults::default(), Faults::default(), Journal::default());
        let (stop, stopped) = watch::channel(false);
        let dynamodb_front = dynamodb::Front { faults: dynamodb_faults.clone(), journal: journal.clone() };
        let threads = vec![
            dynamodb::spawn(dynamodb_listener, options.data_dir, dynamodb_front, stopped.clone())?,
            http::spawn(kinesis_listener, http::Front::new(kinesis.clone(), faults.clone(), journal.clone()), stopped)?,
        ];
        Ok(Self { kinesis, faults, dynamodb_faults, journal, kinesis_addr, dynamodb_addr, stop, threads })
    }

    /// The address of Kinesis.
    pub fn kinesis_addr(&self) -> SocketAddr {
        self.kinesis_addr
    }

    /// The address of DynamoDB.
    pub fn dynamodb_addr(&self) -> SocketAddr {
        self.dynamodb_addr
    }

    /// Kinesis's URL, for an SDK's endpoint setting.
    pub fn kinesis_endpoint(&self) -> String {
        format!("http://{}", self.kinesis_addr)
    }

    /// DynamoDB's URL, for an SDK's endpoint setting.
    pub fn dynamodb_endpoint(&self) -> String {
        format!("http://{}", self.dynamodb_addr)
    }

    /// Direct access to the streams, without HTTP.
    pub fn kinesis(&self) -> &Kinesis {
        &self.kinesis
    }

    /// The faults that Kinesis's HTTP front injects.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The faults that DynamoDB's HTTP front injects.
    pub fn dynamodb_faults(&self) -> &Faults {
        &self.dynamodb_faults
    }

    /// Records the calls of these operations from now on, in addition to operations requested before.
    pub fn journal(&self, operations: &[&str]) -> Journal {
        self.journal.begin(operations);
        self.journal.clone()
    }

    /// Stops both services and waits for their threads. Open connections are cut.
    pub fn shutdown(mut self) {
        self.stop_threads();
    }

    fn stop_threads(&mut self) {
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the local backend panicked");
            }
        }
    }
}

impl Drop for LocalBackend {
    fn drop(&mut self) {
        self.stop_threads();
    }
}

fn bind(service: &'static str, port: u16) -> Result<(TcpListener, SocketAddr), Error> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let bound = || {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let bound = listener.local_addr()?;
        Ok((listener, bound))
    };
    bound().map_err(|source| Error::Bind { service, address, source })
}

fn millis(duration: Duration) -> model::Millis {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
