package compat;

import com.amazonaws.auth.AWSCredentialsProvider;
import com.amazonaws.auth.AWSStaticCredentialsProvider;
import com.amazonaws.auth.BasicAWSCredentials;
import com.amazonaws.services.kinesis.clientlibrary.exceptions.InvalidStateException;
import com.amazonaws.services.kinesis.clientlibrary.exceptions.ShutdownException;
import com.amazonaws.services.kinesis.clientlibrary.interfaces.IRecordProcessorCheckpointer;
import com.amazonaws.services.kinesis.clientlibrary.interfaces.v2.IRecordProcessor;
import com.amazonaws.services.kinesis.clientlibrary.interfaces.v2.IShutdownNotificationAware;
import com.amazonaws.services.kinesis.clientlibrary.lib.worker.InitialPositionInStream;
import com.amazonaws.services.kinesis.clientlibrary.lib.worker.KinesisClientLibConfiguration;
import com.amazonaws.services.kinesis.clientlibrary.lib.worker.ShutdownReason;
import com.amazonaws.services.kinesis.clientlibrary.lib.worker.Worker;
import com.amazonaws.services.kinesis.clientlibrary.types.InitializationInput;
import com.amazonaws.services.kinesis.clientlibrary.types.ProcessRecordsInput;
import com.amazonaws.services.kinesis.clientlibrary.types.ShutdownInput;
import com.amazonaws.services.kinesis.metrics.impl.NullMetricsFactory;
import com.amazonaws.services.kinesis.model.Record;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * A KCL 1 application (the AWS SDK 1, as Samza uses it) that writes down what it is given and checkpoints each batch.
 * It stops gracefully when its standard input ends.
 */
public final class Kcl1Consumer {
    private static final long GRACE_SECONDS = 20;

    private Kcl1Consumer() {}

    /** Options are {@code name=value}; see {@code drain/consumers.py}. */
    public static void main(String[] args) throws Exception {
        Map<String, String> options = Stream.of(args).map(arg -> arg.split("=", 2))
                .collect(Collectors.toMap(pair -> pair[0], pair -> pair[1]));
        AWSCredentialsProvider credentials =
                new AWSStaticCredentialsProvider(new BasicAWSCredentials("local", "local"));
        KinesisClientLibConfiguration config = new KinesisClientLibConfiguration(
                        options.get("application"), options.get("stream"), credentials, options.get("worker"))
                .withKinesisEndpoint(options.get("kinesis"))
                .withDynamoDBEndpoint(options.get("dynamodb"))
                .withRegionName("us-east-1")
                .withInitialPositionInStream(InitialPositionInStream.TRIM_HORIZON)
                .withMaxRecords(Integer.parseInt(options.getOrDefault("records", "10000")));
        if (!"default".equals(options.get("waits"))) {
            config = config.withIdleTimeBetweenReadsInMillis(250)
                    .withFailoverTimeMillis(2000)
                    .withShardSyncIntervalMillis(1000)
                    .withParentShardPollIntervalMillis(500);
        }
        if (options.containsKey("idle")) {
            config = config.withIdleTimeBetweenReadsInMillis(Long.parseLong(options.get("idle")));
        }
        try (OutputStream output = new FileOutputStream(options.get("output"), true)) {
            Worker worker = new Worker.Builder()
                    .recordProcessorFactory(() -> new Processor(output, options.containsKey("count")))
                    .config(config)
                    .metricsFactory(new NullMetricsFactory())
                    .build();
            Thread thread = new Thread(worker, "worker");
            thread.start();
            while (System.in.read() >= 0) {
                // Only the end of the input says something.
            }
            stop(worker);
            thread.join(TimeUnit.SECONDS.toMillis(GRACE_SECONDS));
            System.exit(thread.isAlive() ? 1 : 0);
        }
    }

    /** A graceful stop waits for ever when leases of finished shards were taken just before it: then a plain one. */
    private static void stop(Worker worker) throws Exception {
        try {
            worker.startGracefulShutdown().get(GRACE_SECONDS, TimeUnit.SECONDS);
        } catch (TimeoutException late) {
            System.err.println("the graceful stop takes longer than " + GRACE_SECONDS + " s: stopping at once");
            worker.shutdown();
        }
    }

    private static final class Processor implements IRecordProcessor, IShutdownNotificationAware {
        private final OutputStream output;
        private final boolean counts;
        private String shard;

        Processor(OutputStream output, boolean counts) {
            this.output = output;
            this.counts = counts;
        }

        @Override
        public void initialize(InitializationInput input) {
            shard = input.getShardId();
        }

        @Override
        public void processRecords(ProcessRecordsInput input) {
            StringBuilder lines = new StringBuilder();
            if (counts) {
                lines.append(input.getRecords().size()).append('\n');
            }
            for (Record record : counts ? List.<Record>of() : input.getRecords()) {
                String message = StandardCharsets.UTF_8.decode(record.getData()).toString();
                lines.append(shard).append('\t').append(record.getSequenceNumber()).append('\t');
                lines.append(record.getPartitionKey()).append('\t').append(message).append('\n');
            }
            synchronized (output) {
                try {
                    output.write(lines.toString().getBytes(StandardCharsets.UTF_8));
                    output.flush();
                } catch (IOException error) {
                    throw new UncheckedIOException(error);
                }
            }
            checkpoint(input.getCheckpointer());
        }

        @Override
        public void shutdown(ShutdownInput input) {
            if (input.getShutdownReason() == ShutdownReason.TERMINATE) {
                checkpoint(input.getCheckpointer());
            }
        }

        @Override
        public void shutdownRequested(IRecordProcessorCheckpointer checkpointer) {
            checkpoint(checkpointer);
        }

        private static void checkpoint(IRecordProcessorCheckpointer checkpointer) {
            try {
                checkpointer.checkpoint();
            } catch (ShutdownException lost) {
                // Another worker has the lease: it goes on from the last checkpoint.
                System.err.println("no checkpoint, the lease is lost: " + lost.getMessage());
            } catch (InvalidStateException error) {
                throw new IllegalStateException(error);
            }
        }
    }
}
