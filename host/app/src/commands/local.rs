//! `shardmill local`: the local backend as a server of its own.

use anyhow::{Context, Result};
use serde_json::json;
use shardmill_local::{LocalBackend, Options, StreamSpec};

use super::{BadInput, Signals, print, print_json, runtime, say};
use crate::cli::local::Local;

pub(crate) fn local(args: &Local) -> Result<()> {
    let spec =
        |text: &String| text.parse::<StreamSpec>().map_err(|error| BadInput(format!("--stream {text}: {error}")));
    let streams = args.streams.iter().map(spec).collect::<Result<Vec<_>, _>>()?;
    let backend = LocalBackend::start(Options {
        kinesis_port: args.kinesis_port,
        dynamodb_port: args.dynamodb_port,
        data_dir: args.data_dir.clone(),
        limits: !args.no_limits,
        ..Options::default()
    })?;
    let kinesis = backend.kinesis();
    // Streams of an earlier start stay unchanged.
    for stream in streams.iter().filter(|stream| kinesis.shard_ids(&stream.name).is_err()) {
        kinesis.create_stream(&stream.name, stream.shards).context("failed to create a stream")?;
    }
    runtime()?.block_on(async {
        // Listen before the announcement: its reader may send a signal at once.
        let mut signals = Signals::listen()?;
        announce(args, &backend, &streams);
        signals.next().await;
        anyhow::Ok(())
    })?;
    backend.shutdown();
    Ok(())
}

fn announce(args: &Local, backend: &LocalBackend, streams: &[StreamSpec]) {
    let (kinesis, dynamodb) = (backend.kinesis_endpoint(), backend.dynamodb_endpoint());
    if args.json {
        return print_json(&json!({ "kinesis": kinesis, "dynamodb": dynamodb }).to_string());
    }
    for StreamSpec { name, shards } in streams {
        say(&format!("stream {name}, {shards} shards"));
    }
    say("Kinesis and DynamoDB are ready. For the AWS CLI, any SDK and shardmill itself:\n");
    print(&format!(
        "export AWS_ENDPOINT_URL_KINESIS={kinesis}\n\
         export AWS_ENDPOINT_URL_DYNAMODB={dynamodb}\n\
         export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1\n\
         export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local"
    ));
    say("\nPress Ctrl-C to stop.");
}
