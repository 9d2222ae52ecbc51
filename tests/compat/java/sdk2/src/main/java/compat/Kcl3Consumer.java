package compat;

import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.common.KinesisClientUtil;
import software.amazon.kinesis.coordinator.CoordinatorConfig;
import software.amazon.kinesis.coordinator.CoordinatorConfig.ClientVersionConfig;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.exceptions.InvalidStateException;
import software.amazon.kinesis.exceptions.ShutdownException;
import software.amazon.kinesis.leases.LeaseManagementConfig;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.processor.SingleStreamTracker;
import software.amazon.kinesis.processor.RecordProcessorCheckpointer;
import software.amazon.kinesis.retrieval.fanout.FanOutConfig;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/**
 * A KCL 3 application that writes down what it is given and checkpoints each batch. It stops gracefully when its
 * standard input ends, and then prints what went over the wire.
 *
 * <p>Only waits are shortened, unless {@code waits=default}; everything that decides which calls are made is the KCL's
 * default.
 */
public final class Kcl3Consumer {
    private static final long GRACE_SECONDS = 20;

    private Kcl3Consumer() {}

    /** Options are {@code name=value}; see {@code drain/consumers.py}. */
    public static void main(String[] args) throws Exception {
        Map<String, String> options = Stream.of(args).map(arg -> arg.split("=", 2))
                .collect(Collectors.toMap(pair -> pair[0], pair -> pair[1]));
        Wire wire = new Wire();
        KinesisAsyncClient kinesis = KinesisClientUtil.createKinesisAsyncClient(
                Clients.at(options.get("kinesis"), KinesisAsyncClient.builder())
                        .overrideConfiguration(override -> override.addExecutionInterceptor(wire)));
        DynamoDbAsyncClient dynamo = Clients.at(options.get("dynamodb"), DynamoDbAsyncClient.builder()).build();
        // Must be there; with metrics off it is not called, and nothing listens on that port.
        CloudWatchAsyncClient cloudWatch =
                Clients.at("http://127.0.0.1:9", CloudWatchAsyncClient.builder()).build();

        Delivered delivered = new Delivered(options.get("output"));
        ConfigsBuilder configs = new ConfigsBuilder(
                new SingleStreamTracker(
                        options.get("stream"),
                        InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON)),
                options.get("application"), kinesis, dynamo, cloudWatch, options.get("worker"),
                () -> new Processor(delivered, options.containsKey("count")));
        Scheduler scheduler = scheduler(configs, options, kinesis);
        Thread thread = new Thread(scheduler, "scheduler");
        thread.start();

        while (System.in.read() >= 0) {
            // Only the end of the input says something.
        }
        stop(scheduler);
        thread.join(TimeUnit.SECONDS.toMillis(GRACE_SECONDS));
        wire.seen().forEach((call, times) -> System.out.println(call + " " + times));
        System.out.flush();
        // The clients' threads are not daemons.
        System.exit(thread.isAlive() ? 1 : 0);
    }

    /** A graceful stop waits for ever when leases of finished shards were taken just before it: then a plain one. */
    private static void stop(Scheduler scheduler) throws Exception {
        try {
            scheduler.startGracefulShutdown().get(GRACE_SECONDS, TimeUnit.SECONDS);
        } catch (TimeoutException late) {
            System.err.println("the graceful stop takes longer than " + GRACE_SECONDS + " s: stopping at once");
            scheduler.shutdown();
        }
    }

    private static Scheduler scheduler(ConfigsBuilder configs, Map<String, String> options, KinesisAsyncClient kinesis) {
        LeaseManagementConfig leases = configs.leaseManagementConfig();
        CoordinatorConfig coordinator = configs.coordinatorConfig()
                .clientVersionConfig(ClientVersionConfig.valueOf("CLIENT_VERSION_CONFIG_" + options.get("version")));
        String stream = options.get("stream");
        PollingConfig polling = new PollingConfig(stream, kinesis)
                .maxRecords(Integer.parseInt(options.getOrDefault("records", "10000")));
        if (!"default".equals(options.get("waits"))) {
            leases = leases.shardSyncIntervalMillis(1000)
                    .failoverTimeMillis(2000)
                    .dynamoDbLockBasedLeaderLeaseDurationInMillis(6000)
                    .dynamoDbLockBasedLeaderHeartbeatPeriodInMillis(2000);
            coordinator = coordinator.parentShardPollIntervalMillis(500);
            polling = polling.idleTimeBetweenReadsInMillis(250);
        }
        if (options.containsKey("idle")) {
            polling = polling.idleTimeBetweenReadsInMillis(Long.parseLong(options.get("idle")));
        }
        boolean fanOut = options.get("retrieval").equals("FANOUT");
        var retrieval = configs.retrievalConfig().retrievalSpecificConfig(
                fanOut
                        ? new FanOutConfig(kinesis).streamName(stream).applicationName(options.get("application"))
                        : polling);
        return new Scheduler(
                configs.checkpointConfig(), coordinator, leases, configs.lifecycleConfig(),
                configs.metricsConfig().metricsFactory(new NullMetricsFactory()), configs.processorConfig(), retrieval);
    }

    private static final class Processor implements ShardRecordProcessor {
        private final Delivered delivered;
        private final boolean counts;
        private String shard;

        Processor(Delivered delivered, boolean counts) {
            this.delivered = delivered;
            this.counts = counts;
        }

        @Override
        public void initialize(InitializationInput input) {
            shard = input.shardId();
        }

        @Override
        public void processRecords(ProcessRecordsInput input) {
            StringBuilder lines = new StringBuilder();
            if (counts) {
                lines.append(input.records().size()).append('\n');
            } else {
                input.records().forEach(record -> Delivered.line(
                        lines, shard, record.sequenceNumber(), record.partitionKey(),
                        StandardCharsets.UTF_8.decode(record.data()).toString()));
            }
            delivered.append(lines);
            checkpoint(input.checkpointer());
        }

        @Override
        public void leaseLost(LeaseLostInput input) {}

        @Override
        public void shardEnded(ShardEndedInput input) {
            checkpoint(input.checkpointer());
        }

        @Override
        public void shutdownRequested(ShutdownRequestedInput input) {
            checkpoint(input.checkpointer());
        }

        private static void checkpoint(RecordProcessorCheckpointer checkpointer) {
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
