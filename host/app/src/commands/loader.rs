//! Shared by the demo and the benchmarks: fills a stream of a local backend before a consumer starts, and provides a
//! directory for temporary files.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use shardmill_aws::Kinesis;
use shardmill_core::config::Access;

use super::local_credentials;

/// Records and bytes per PutRecords call (the service's limits are 500 and 5 MiB, keys included).
const RECORDS_PER_CALL: usize = 500;
const BYTES_PER_CALL: usize = 4 << 20;

/// One record to put.
pub(crate) struct Put {
    pub(crate) key: String,
    pub(crate) data: Vec<u8>,
}

/// Puts records in order, in calls as large as allowed; reports the number so far to `progress`.
pub(crate) async fn put_all(
    kinesis: &Kinesis,
    stream: &str,
    records: impl IntoIterator<Item = Put>,
    mut progress: impl FnMut(u64),
) -> Result<u64> {
    let mut call: Vec<Put> = Vec::new();
    let (mut bytes, mut total) = (0, 0);
    for record in records {
        let size = record.key.len() + record.data.len();
        if call.len() == RECORDS_PER_CALL || (bytes + size > BYTES_PER_CALL && !call.is_empty()) {
            total += put(kinesis, stream, &call).await?;
            progress(total);
            call.clear();
            bytes = 0;
        }
        bytes += size;
        call.push(record);
    }
    if !call.is_empty() {
        total += put(kinesis, stream, &call).await?;
    }
    progress(total);
    Ok(total)
}

async fn put(kinesis: &Kinesis, stream: &str, records: &[Put]) -> Result<u64> {
    let borrowed: Vec<_> = records.iter().map(|put| (Some(put.key.as_str()), put.data.as_slice())).collect();
    let failures = kinesis.put_records(stream, &borrowed).await.context("failed to fill the stream")?;
    if let Some(failure) = failures.first() {
        bail!("failed to fill the stream: {} records were rejected: {}", failures.len(), failure.message);
    }
    Ok(records.len() as u64)
}

/// The settings of a client of the local backend, independent of any job's configuration.
pub(crate) fn local_access(endpoint: String) -> Access {
    let credentials = local_credentials();
    Access { region: Some("us-east-1".to_owned()), endpoint: Some(endpoint), credentials, role: None }
}

/// A new directory for a command's temporary files; the command removes it.
pub(crate) fn scratch_directory(command: &str) -> Result<PathBuf> {
    let directory = std::env::temp_dir().join(format!("shardmill-{command}-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&directory).with_context(|| format!("failed to create {}", directory.display()))?;
    Ok(directory)
}
