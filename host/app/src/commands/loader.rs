//! What the demo and the benchmarks share: filling a stream of a local backend before a consumer starts, and a place for
//! what they leave behind.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use shardmill_aws::{ClientSettings, Kinesis};

/// Records and bytes that one PutRecords call takes (the service's own limits are 500 and 5 MiB, keys included).
const RECORDS_PER_CALL: usize = 500;
const BYTES_PER_CALL: usize = 4 << 20;

/// A record to put.
pub(crate) struct Put {
    pub(crate) key: String,
    pub(crate) data: Vec<u8>,
}

/// Puts records in their order, in calls as large as allowed; `progress` is told the number so far.
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
        bail!("failed to fill the stream: {} records were refused: {}", failures.len(), failure.message);
    }
    Ok(records.len() as u64)
}

/// How a service of a local backend is reached past a job's configuration.
pub(crate) fn local_client(endpoint: String) -> ClientSettings {
    let local = || "local".to_owned();
    ClientSettings {
        region: Some("us-east-1".to_owned()),
        endpoint: Some(endpoint),
        credentials: shardmill_aws::StaticCredentials {
            access_key_id: local(),
            secret_access_key: local(),
            session_token: None,
        }
        .into(),
        ..ClientSettings::default()
    }
}

/// A new directory for what a command leaves behind until it ends; the command removes it.
pub(crate) fn scratch_directory(command: &str) -> Result<PathBuf> {
    let directory = std::env::temp_dir().join(format!("shardmill-{command}-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir(&directory).with_context(|| format!("failed to create {}", directory.display()))?;
    Ok(directory)
}
