package shardmill;

import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;

import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.GetRecordsResponse;
import software.amazon.awssdk.services.kinesis.model.InvalidArgumentException;
import software.amazon.awssdk.services.kinesis.model.PutRecordsRequestEntry;
import software.amazon.awssdk.services.kinesis.model.ResourceInUseException;
import software.amazon.awssdk.services.kinesis.model.ResourceNotFoundException;
import software.amazon.awssdk.services.kinesis.model.Shard;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardEvent;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardResponseHandler;
import software.amazon.kinesis.common.KinesisClientUtil;

/** The Java SDK 2 as it comes: AWS CBOR over HTTP/2 without TLS, modelled exceptions, the event stream. */
public final class SdkCheck {
    private static final String STREAM = "java-sdk";
    private static final String PARENT = "shardId-000000000000";
    private static final int RECORDS = 200;

    public static void main(String[] arguments) throws Exception {
        Instant started = Instant.now();
        try (KinesisAsyncClient kinesis = KinesisClientUtil.adjustKinesisClientBuilder(KinesisAsyncClient.builder()).build()) {
            kinesis.createStream(b -> b.streamName(STREAM).shardCount(2)).get();
            List<PutRecordsRequestEntry> entries = new ArrayList<>();
            for (int i = 0; i < RECORDS; i++) {
                SdkBytes data = SdkBytes.fromUtf8String("record " + i);
                entries.add(PutRecordsRequestEntry.builder().partitionKey("" + i).data(data).build());
            }
            check(kinesis.putRecords(b -> b.streamName(STREAM).records(entries)).get().failedRecordCount() == 0, "put");
            check(readAll(kinesis, started).size() == RECORDS, "every record is read");

            refused(InvalidArgumentException.class, () -> kinesis.getRecords(b -> b.shardIterator("x")));
            refused(ResourceNotFoundException.class, () -> kinesis.describeStream(b -> b.streamName("absent")));
            int events = subscribe(kinesis);
            kinesis.deleteStream(b -> b.streamName(STREAM).enforceConsumerDeletion(true)).get();
            System.out.printf("OK Java SDK 2 (CBOR, HTTP/2): %d records, split, fan-out (%d events), refusals%n", RECORDS, events);
        }
    }

    private static Set<String> readAll(KinesisAsyncClient kinesis, Instant started) throws Exception {
        Set<String> seen = new TreeSet<>();
        for (Shard shard : kinesis.listShards(b -> b.streamName(STREAM)).get().shards()) {
            String iterator = kinesis.getShardIterator(b -> b.streamName(STREAM).shardId(shard.shardId())
                .shardIteratorType("AT_TIMESTAMP").timestamp(started)).get().shardIterator();
            GetRecordsResponse reply = kinesis.getRecords(b -> b.shardIterator(iterator)).get();
            reply.records().forEach(record -> {
                check(!record.approximateArrivalTimestamp().isBefore(started.minusMillis(1)), "arrival in milliseconds");
                seen.add(record.data().asUtf8String());
            });
        }
        return seen;
    }

    /** Reads a closed shard to its end; returns how many events it took. */
    private static int subscribe(KinesisAsyncClient kinesis) throws Exception {
        String stream = kinesis.describeStreamSummary(b -> b.streamName(STREAM)).get().streamDescriptionSummary().streamARN();
        String consumer = kinesis.registerStreamConsumer(b -> b.streamARN(stream).consumerName("app")).get().consumer().consumerARN();
        kinesis.splitShard(b -> b.streamName(STREAM).shardToSplit(PARENT).newStartingHashKey("77")).get();
        List<SubscribeToShardEvent> events = new ArrayList<>();
        SubscribeToShardResponseHandler handler = SubscribeToShardResponseHandler.builder()
            .subscriber(event -> events.add((SubscribeToShardEvent) event)).build();
        Callable<Future<Void>> subscribe = () -> kinesis.subscribeToShard(b -> b.consumerARN(consumer).shardId(PARENT)
            .startingPosition(p -> p.type("TRIM_HORIZON")), handler);
        subscribe.call().get();
        SubscribeToShardEvent last = events.get(events.size() - 1);
        check(last.continuationSequenceNumber() == null && last.childShards().size() == 2, "the end names the children");
        refused(ResourceInUseException.class, subscribe);
        return events.size();
    }

    private static void refused(Class<? extends Throwable> expected, Callable<? extends Future<?>> call) throws Exception {
        try {
            call.call().get();
        } catch (ExecutionException e) {
            check(expected.isInstance(e.getCause()), "refused with " + expected.getSimpleName() + ", not " + e.getCause());
            return;
        }
        check(false, "refused with " + expected.getSimpleName());
    }

    static void check(boolean holds, String what) {
        if (!holds) {
            throw new AssertionError(what);
        }
    }
}
