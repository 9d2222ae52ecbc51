//! Fills a stream, for the demo and the benchmark, before a consumer starts.

use anyhow::{Context, Result, bail};
use shardmill_aws::Kinesis;

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
