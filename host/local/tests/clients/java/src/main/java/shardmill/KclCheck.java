package shardmill;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicInteger;

import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.services.cloudwatch.CloudWatchAsyncClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.PutRecordsRequestEntry;
import software.amazon.kinesis.common.ConfigsBuilder;
import software.amazon.kinesis.common.InitialPositionInStream;
import software.amazon.kinesis.common.InitialPositionInStreamExtended;
import software.amazon.kinesis.common.KinesisClientUtil;
import software.amazon.kinesis.coordinator.CoordinatorConfig.ClientVersionConfig;
import software.amazon.kinesis.coordinator.Scheduler;
import software.amazon.kinesis.lifecycle.events.InitializationInput;
import software.amazon.kinesis.lifecycle.events.LeaseLostInput;
import software.amazon.kinesis.lifecycle.events.ProcessRecordsInput;
import software.amazon.kinesis.lifecycle.events.ShardEndedInput;
import software.amazon.kinesis.lifecycle.events.ShutdownRequestedInput;
import software.amazon.kinesis.metrics.NullMetricsFactory;
import software.amazon.kinesis.processor.RecordProcessorCheckpointer;
import software.amazon.kinesis.processor.ShardRecordProcessor;
import software.amazon.kinesis.retrieval.RetrievalSpecificConfig;
import software.amazon.kinesis.retrieval.fanout.FanOutConfig;
import software.amazon.kinesis.retrieval.polling.PollingConfig;

/** The Java KCL 3.x drains a stream that was split before it started and is merged while it runs. */
public final class KclCheck {
    private static final int RECORDS = 2000;
    private static final int KEYS = 50;
    private static final Duration PATIENCE = Duration.ofMinutes(5);

    private final Map<String, Integer> lastOfKey = new ConcurrentHashMap<>();
    private final Map<Integer, Boolean> seen = new ConcurrentHashMap<>();
    private final AtomicInteger again = new AtomicInteger();
    private final AtomicInteger shardsEnded = new AtomicInteger();

    public static void main(String[] arguments) throws Exception {
        new KclCheck().run(arguments[0]);
        System.exit(0);
    }

    private void run(String retrieval) throws Exception {
        String stream = "kcl-" + retrieval;
        KinesisAsyncClient kinesis = KinesisClientUtil.adjustKinesisClientBuilder(KinesisAsyncClient.builder()).build();
        kinesis.createStream(b -> b.streamName(stream).shardCount(2)).get();
        put(kinesis, stream, 0, RECORDS / 4);
        kinesis.splitShard(b -> b.streamName(stream).shardToSplit("shardId-000000000000")
            .newStartingHashKey("99999999999999999999999999999999")).get();
        put(kinesis, stream, RECORDS / 4, RECORDS / 2);

        Instant started = Instant.now();
        Thread worker = new Thread(scheduler(kinesis, stream, retrieval));
        worker.setDaemon(true);
        worker.start();
        await(RECORDS / 2, started);
        Duration half = Duration.between(started, Instant.now());
        kinesis.mergeShards(b -> b.streamName(stream).shardToMerge("shardId-000000000003")
            .adjacentShardToMerge("shardId-000000000001")).get();
        put(kinesis, stream, RECORDS / 2, RECORDS);
        await(RECORDS, started);
        SdkCheck.check(shardsEnded.get() == 3, "three parents ended, not " + shardsEnded);
        System.out.printf("OK Java KCL 3.5.1 %s: %d of %d records, %d again, keys in order, 3 shards ended; half after %.1f s, all after %.1f s%n",
            retrieval, seen.size(), RECORDS, again.get(), half.toMillis() / 1000.0,
            Duration.between(started, Instant.now()).toMillis() / 1000.0);
    }

    private void await(int count, Instant started) throws InterruptedException {
        while (seen.size() < count) {
            SdkCheck.check(Duration.between(started, Instant.now()).compareTo(PATIENCE) < 0,
                "only " + seen.size() + " of " + count + " records within " + PATIENCE);
            Thread.sleep(100);
        }
    }

    private Scheduler scheduler(KinesisAsyncClient kinesis, String stream, String retrieval) {
        var oldest = InitialPositionInStreamExtended.newInitialPosition(InitialPositionInStream.TRIM_HORIZON);
        ConfigsBuilder configs = new ConfigsBuilder(stream, stream, kinesis, DynamoDbAsyncClient.create(),
            CloudWatchAsyncClient.create(), UUID.randomUUID().toString(), Processor::new);
        RetrievalSpecificConfig specific = retrieval.equals("polling")
            ? new PollingConfig(stream, kinesis).idleTimeBetweenReadsInMillis(200)
            : new FanOutConfig(kinesis).streamName(stream).applicationName(stream);
        // The 3.x mode proper first waits for an index of its lease table for many minutes.
        var coordinator = configs.coordinatorConfig().parentShardPollIntervalMillis(1000)
            .clientVersionConfig(ClientVersionConfig.CLIENT_VERSION_CONFIG_COMPATIBLE_WITH_2X);
        return new Scheduler(configs.checkpointConfig(), coordinator,
            configs.leaseManagementConfig().shardSyncIntervalMillis(1000L).initialPositionInStream(oldest),
            configs.lifecycleConfig(), configs.metricsConfig().metricsFactory(new NullMetricsFactory()),
            configs.processorConfig(),
            configs.retrievalConfig().initialPositionInStreamExtended(oldest).retrievalSpecificConfig(specific));
    }

    private static void put(KinesisAsyncClient kinesis, String stream, int from, int to) throws Exception {
        for (int start = from; start < to; start += 100) {
            List<PutRecordsRequestEntry> entries = new ArrayList<>();
            for (int i = start; i < start + 100; i++) {
                SdkBytes data = SdkBytes.fromUtf8String("" + i);
                entries.add(PutRecordsRequestEntry.builder().partitionKey("key " + i % KEYS).data(data).build());
            }
            SdkCheck.check(kinesis.putRecords(b -> b.streamName(stream).records(entries)).get().failedRecordCount() == 0, "put");
        }
    }

    private final class Processor implements ShardRecordProcessor {
        @Override
        public void initialize(InitializationInput input) {}

        @Override
        public void processRecords(ProcessRecordsInput input) {
            input.records().forEach(record -> {
                int number = Integer.parseInt(StandardCharsets.UTF_8.decode(record.data()).toString());
                if (seen.put(number, true) != null) {
                    again.incrementAndGet();
                    return;
                }
                Integer before = lastOfKey.put(record.partitionKey(), number);
                if (before != null && before > number) {
                    System.err.println(record.partitionKey() + ": " + number + " after " + before);
                    System.exit(1);
                }
            });
            checkpoint(input.checkpointer());
        }

        @Override
        public void leaseLost(LeaseLostInput input) {}

        @Override
        public void shardEnded(ShardEndedInput input) {
            checkpoint(input.checkpointer());
            shardsEnded.incrementAndGet();
        }

        @Override
        public void shutdownRequested(ShutdownRequestedInput input) {}

        private void checkpoint(RecordProcessorCheckpointer checkpointer) {
            try {
                checkpointer.checkpoint();
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        }
    }
}
