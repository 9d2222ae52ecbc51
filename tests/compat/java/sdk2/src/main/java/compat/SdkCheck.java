package compat;

import java.math.BigInteger;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.stream.IntStream;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.http.Protocol;
import software.amazon.awssdk.http.nio.netty.NettyNioAsyncHttpClient;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.KinesisClient;
import software.amazon.awssdk.services.kinesis.model.ConsumerStatus;
import software.amazon.awssdk.services.kinesis.model.GetRecordsResponse;
import software.amazon.awssdk.services.kinesis.model.InvalidArgumentException;
import software.amazon.awssdk.services.kinesis.model.KinesisException;
import software.amazon.awssdk.services.kinesis.model.PutRecordResponse;
import software.amazon.awssdk.services.kinesis.model.PutRecordsRequestEntry;
import software.amazon.awssdk.services.kinesis.model.PutRecordsResponse;
import software.amazon.awssdk.services.kinesis.model.Record;
import software.amazon.awssdk.services.kinesis.model.ResourceInUseException;
import software.amazon.awssdk.services.kinesis.model.ResourceNotFoundException;
import software.amazon.awssdk.services.kinesis.model.Shard;
import software.amazon.awssdk.services.kinesis.model.ShardIteratorType;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardEvent;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardEventStream;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardResponseHandler;

/**
 * The AWS SDK for Java 2 against a Kinesis endpoint: the synchronous client (HTTP/1.1) and the asynchronous one (HTTP/2
 * by prior knowledge), with CBOR as they speak it by default, and with JSON.
 */
public final class SdkCheck {
    private static final String STREAM = "sdk2";
    private static final String MIDDLE = "170141183460469231731687303715884105728";
    private static final Duration PATIENCE = Duration.ofSeconds(30);

    private final String endpoint;
    private int failed;

    private SdkCheck(String endpoint) {
        this.endpoint = endpoint;
    }

    @FunctionalInterface
    private interface Check {
        void run() throws Exception;
    }

    /** The argument is Kinesis' endpoint. */
    public static void main(String[] args) {
        SdkCheck check = new SdkCheck(args[0]);
        check.synchronous();
        check.asynchronous();
        check.json();
        System.out.println(check.failed == 0 ? "all checks passed" : check.failed + " checks failed");
        System.exit(check.failed == 0 ? 0 : 1);
    }

    private void synchronous() {
        Wire wire = new Wire();
        try (KinesisClient kinesis = Clients.at(endpoint, KinesisClient.builder())
                .overrideConfiguration(override -> override.addExecutionInterceptor(wire)).build()) {
            check("sync: CreateStream, waiter", () -> {
                kinesis.createStream(b -> b.streamName(STREAM).shardCount(2));
                kinesis.waiter().waitUntilStreamExists(b -> b.streamName(STREAM));
            });
            check("sync: PutRecord, PutRecords and GetRecords give every byte back", () -> roundTrip(kinesis, STREAM));
            check("sync: a record of 1 MiB", () -> largeRecord(kinesis));
            check("sync: AT_TIMESTAMP in milliseconds", () -> atTimestamp(kinesis));
            check("sync: ListShards in pages", () -> {
                var first = kinesis.listShards(b -> b.streamName(STREAM).maxResults(1));
                var second = kinesis.listShards(b -> b.nextToken(first.nextToken()).maxResults(1));
                require(first.shards().size() == 1 && second.shards().size() == 1, "one shard a page");
                require(second.nextToken() == null, "no third page");
            });
            check("sync: errors are typed", () -> errors(kinesis));
            check("sync: a split shard ends with its children", () -> split(kinesis));
            check("sync: merged shards have two parents", () -> merge(kinesis));
        }
        check("sync: the wire was CBOR, both ways", () -> requireCbor(wire, "PutRecords", "GetRecords", "ListShards"));
    }

    private void asynchronous() {
        Wire wire = new Wire();
        String name = STREAM + "-async";
        // The SDK's default for this service, said aloud: with it the client cannot fall back to HTTP/1.1.
        var http2 = NettyNioAsyncHttpClient.builder().protocol(Protocol.HTTP2);
        try (KinesisAsyncClient kinesis = Clients.at(endpoint, KinesisAsyncClient.builder().httpClientBuilder(http2))
                .overrideConfiguration(override -> override.addExecutionInterceptor(wire)).build()) {
            check("async: CreateStream, waiter", () -> {
                kinesis.createStream(b -> b.streamName(name).shardCount(1)).join();
                kinesis.waiter().waitUntilStreamExists(b -> b.streamName(name)).join();
            });
            check("async: 40 PutRecord at once over HTTP/2", () -> {
                var puts = IntStream.range(0, 40).mapToObj(n -> kinesis.putRecord(b -> b.streamName(name)
                        .partitionKey("k").data(SdkBytes.fromUtf8String("early " + n)))).toList();
                puts.forEach(CompletableFuture::join);
            });
            check("async: SubscribeToShard: old records, new ones, shard end", () -> subscribe(kinesis, name));
        }
        check("async: the wire was CBOR", () -> requireCbor(wire, "PutRecord", "DescribeStreamConsumer"));
        wire.seen().forEach((call, times) -> System.out.println("      " + call + " " + times));
    }

    private void json() {
        System.setProperty("aws.cborEnabled", "false");
        Wire wire = new Wire();
        String name = STREAM + "-json";
        try (KinesisClient kinesis = Clients.at(endpoint, KinesisClient.builder())
                .overrideConfiguration(override -> override.addExecutionInterceptor(wire)).build()) {
            check("json: the same round trip without CBOR", () -> {
                kinesis.createStream(b -> b.streamName(name).shardCount(2));
                kinesis.waiter().waitUntilStreamExists(b -> b.streamName(name));
                roundTrip(kinesis, name);
                require(wire.seen().keySet().stream().noneMatch(call -> call.contains("cbor")), "no CBOR: " + wire.seen());
            });
        } finally {
            System.clearProperty("aws.cborEnabled");
        }
    }

    private static void roundTrip(KinesisClient kinesis, String stream) {
        byte[] every = new byte[256];
        IntStream.range(0, 256).forEach(n -> every[n] = (byte) n);
        PutRecordResponse one = kinesis.putRecord(
                b -> b.streamName(stream).partitionKey("k").explicitHashKey("0").data(SdkBytes.fromByteArray(every)));
        require(one.sequenceNumber().matches("[0-9]{56}"), "56 digits: " + one.sequenceNumber());
        require(one.shardId().equals("shardId-000000000000"), "the first shard: " + one.shardId());
        List<PutRecordsRequestEntry> entries = IntStream.range(0, 300).mapToObj(n -> PutRecordsRequestEntry.builder()
                .partitionKey("ключ-" + n).explicitHashKey("0").data(SdkBytes.fromUtf8String("message " + n)).build())
                .toList();
        PutRecordsResponse many = kinesis.putRecords(b -> b.streamName(stream).records(entries));
        require(many.failedRecordCount() == 0, "none failed");

        List<Record> records = read(kinesis, stream, one.shardId(), 301);
        require(records.size() == 301, "301 records: " + records.size());
        require(Arrays.equals(records.get(0).data().asByteArray(), every), "every byte value");
        for (int n = 0; n < 300; n++) {
            Record record = records.get(n + 1);
            require(record.partitionKey().equals("ключ-" + n), "key " + record.partitionKey());
            require(record.data().asUtf8String().equals("message " + n), "message " + n);
            require(record.sequenceNumber().equals(many.records().get(n).sequenceNumber()), "sequence number " + n);
            Duration age = Duration.between(record.approximateArrivalTimestamp(), Instant.now()).abs();
            require(age.compareTo(PATIENCE) < 0, "arrived now: " + record.approximateArrivalTimestamp());
        }
    }

    private static void largeRecord(KinesisClient kinesis) throws InterruptedException {
        // What was written in this second counts against the shard's 1 MiB.
        Thread.sleep(1100);
        byte[] large = new byte[1024 * 1024 - 1];
        IntStream.range(0, large.length).forEach(n -> large[n] = (byte) (n * 31));
        PutRecordResponse put = kinesis.putRecord(b -> b.streamName(STREAM).partitionKey("l")
                .explicitHashKey(MIDDLE).data(SdkBytes.fromByteArray(large)));
        List<Record> records = read(kinesis, STREAM, put.shardId(), 1);
        require(Arrays.equals(records.get(0).data().asByteArray(), large), "the same megabyte");
        refused(KinesisException.class, () -> kinesis.putRecord(b -> b
                .streamName(STREAM).partitionKey("l").data(SdkBytes.fromByteArray(new byte[1024 * 1024 + 1]))));
    }

    private static void atTimestamp(KinesisClient kinesis) throws InterruptedException {
        String shard = "shardId-000000000000";
        Thread.sleep(20);
        Instant between = Instant.now();
        Thread.sleep(20);
        kinesis.putRecord(b -> b.streamName(STREAM).partitionKey("k").explicitHashKey("0")
                .data(SdkBytes.fromUtf8String("after")));
        String iterator = kinesis.getShardIterator(b -> b.streamName(STREAM).shardId(shard)
                .shardIteratorType(ShardIteratorType.AT_TIMESTAMP).timestamp(between)).shardIterator();
        List<Record> records = kinesis.getRecords(b -> b.shardIterator(iterator)).records();
        require(records.size() == 1 && records.get(0).data().asUtf8String().equals("after"), "one record: " + records);
    }

    private static void errors(KinesisClient kinesis) {
        refused(ResourceNotFoundException.class, () -> kinesis.describeStreamSummary(b -> b.streamName("none")));
        refused(ResourceInUseException.class, () -> kinesis.createStream(b -> b.streamName(STREAM).shardCount(1)));
        refused(InvalidArgumentException.class, () -> kinesis.getShardIterator(b -> b.streamName(STREAM)
                .shardId("shardId-000000000000").shardIteratorType("AFTER_SEQUENCE_NUMBER").startingSequenceNumber("1")));
    }

    private static void split(KinesisClient kinesis) {
        Shard parent = kinesis.listShards(b -> b.streamName(STREAM)).shards().get(0);
        kinesis.splitShard(b -> b.streamName(STREAM).shardToSplit(parent.shardId()).newStartingHashKey("1000"));
        kinesis.waiter().waitUntilStreamExists(b -> b.streamName(STREAM));
        String next = kinesis.getShardIterator(b -> b.streamName(STREAM).shardId(parent.shardId())
                .shardIteratorType(ShardIteratorType.TRIM_HORIZON)).shardIterator();
        GetRecordsResponse last = null;
        while (next != null) {
            String iterator = next;
            last = kinesis.getRecords(b -> b.shardIterator(iterator));
            next = last.nextShardIterator();
        }
        require(last.childShards().size() == 2, "two children: " + last.childShards());
        require(last.childShards().get(0).parentShards().equals(List.of(parent.shardId())), "their parent");
        require(last.childShards().get(1).hashKeyRange().startingHashKey().equals("1000"), "their ranges");
    }

    private static void merge(KinesisClient kinesis) {
        List<Shard> open = kinesis.listShards(b -> b.streamName(STREAM)).shards().stream()
                .filter(shard -> shard.sequenceNumberRange().endingSequenceNumber() == null)
                .sorted((a, b) -> new BigInteger(a.hashKeyRange().startingHashKey())
                        .compareTo(new BigInteger(b.hashKeyRange().startingHashKey())))
                .toList();
        kinesis.mergeShards(b -> b.streamName(STREAM).shardToMerge(open.get(0).shardId())
                .adjacentShardToMerge(open.get(1).shardId()));
        kinesis.waiter().waitUntilStreamExists(b -> b.streamName(STREAM));
        Shard child = kinesis.listShards(b -> b.streamName(STREAM)).shards().stream()
                .filter(shard -> shard.adjacentParentShardId() != null).findFirst().orElseThrow();
        require(child.parentShardId().equals(open.get(0).shardId()), "parent");
        require(child.adjacentParentShardId().equals(open.get(1).shardId()), "adjacent parent");
    }

    private static void subscribe(KinesisAsyncClient kinesis, String name) throws Exception {
        String arn = kinesis.describeStreamSummary(b -> b.streamName(name)).join().streamDescriptionSummary().streamARN();
        String consumer = kinesis.registerStreamConsumer(b -> b.streamARN(arn).consumerName("sdk2")).join()
                .consumer().consumerARN();
        until("the consumer is ACTIVE", () -> kinesis.describeStreamConsumer(b -> b.consumerARN(consumer)).join()
                .consumerDescription().consumerStatus() == ConsumerStatus.ACTIVE);
        String shard = kinesis.listShards(b -> b.streamName(name)).join().shards().get(0).shardId();

        List<SubscribeToShardEvent> events = new CopyOnWriteArrayList<>();
        CompletableFuture<Void> subscription = kinesis.subscribeToShard(
                b -> b.consumerARN(consumer).shardId(shard).startingPosition(p -> p.type(ShardIteratorType.TRIM_HORIZON)),
                SubscribeToShardResponseHandler.builder().subscriber(event -> collect(event, events)).build());
        until("40 old records", () -> texts(events).size() == 40);
        SubscribeToShardResponseHandler again =
                SubscribeToShardResponseHandler.builder().subscriber((SubscribeToShardEventStream event) -> {}).build();
        refused(ResourceInUseException.class, () -> join(kinesis.subscribeToShard(
                b -> b.consumerARN(consumer).shardId(shard).startingPosition(p -> p.type(ShardIteratorType.LATEST)), again)));
        kinesis.putRecord(b -> b.streamName(name).partitionKey("k").data(SdkBytes.fromUtf8String("live"))).join();
        until("the live record", () -> texts(events).size() == 41);
        require(texts(events).get(40).equals("live"), "the live record last: " + texts(events));
        for (SubscribeToShardEvent event : events) {
            require(event.millisBehindLatest() != null, "MillisBehindLatest");
            require(event.continuationSequenceNumber() != null, "a continuation while the shard is open");
        }

        kinesis.splitShard(b -> b.streamName(name).shardToSplit(shard).newStartingHashKey(MIDDLE)).join();
        subscription.get(PATIENCE.toSeconds(), TimeUnit.SECONDS);
        SubscribeToShardEvent last = events.get(events.size() - 1);
        require(last.continuationSequenceNumber() == null, "no continuation at the end");
        require(last.childShards().size() == 2, "two children: " + last.childShards());
    }

    private static void collect(SubscribeToShardEventStream event, List<SubscribeToShardEvent> events) {
        if (event instanceof SubscribeToShardEvent records) {
            events.add(records);
        }
    }

    private static List<String> texts(List<SubscribeToShardEvent> events) {
        return events.stream().flatMap(event -> event.records().stream()).map(r -> r.data().asUtf8String()).toList();
    }

    private static List<Record> read(KinesisClient kinesis, String stream, String shard, int count) {
        String next = kinesis.getShardIterator(b -> b.streamName(stream).shardId(shard)
                .shardIteratorType(ShardIteratorType.TRIM_HORIZON)).shardIterator();
        List<Record> records = new ArrayList<>();
        Instant deadline = Instant.now().plus(PATIENCE);
        while (records.size() < count) {
            require(Instant.now().isBefore(deadline), "only " + records.size() + " of " + count + " records");
            String iterator = next;
            GetRecordsResponse page = kinesis.getRecords(b -> b.shardIterator(iterator));
            records.addAll(page.records());
            next = page.nextShardIterator();
        }
        return records;
    }

    private static void requireCbor(Wire wire, String... operations) {
        Map<String, Integer> others = new HashMap<>(wire.seen());
        for (String operation : operations) {
            String call = operation + " " + Wire.CBOR + " " + Wire.CBOR;
            require(others.containsKey(call), "CBOR for " + operation + ": " + wire.seen());
        }
        // The replies of SubscribeToShard are an event stream.
        others.keySet().removeIf(call -> call.endsWith(" " + Wire.CBOR + " " + Wire.CBOR));
        others.keySet().removeIf(call -> call.startsWith("SubscribeToShard "));
        require(others.isEmpty(), "nothing but CBOR: " + others);
    }

    private static void refused(Class<? extends KinesisException> expected, Check call) {
        try {
            call.run();
        } catch (Exception error) {
            require(expected.isInstance(error), "expected " + expected.getSimpleName() + ", got " + error);
            require(((KinesisException) error).requestId() != null, "a request id");
            require(((KinesisException) error).statusCode() == 400, "status 400");
            return;
        }
        throw new IllegalStateException("expected " + expected.getSimpleName() + ", but it succeeded");
    }

    private static void join(CompletableFuture<?> future) throws Exception {
        try {
            future.join();
        } catch (CompletionException error) {
            throw (Exception) error.getCause();
        }
    }

    private static void until(String what, BooleanSupplier condition) throws InterruptedException {
        Instant deadline = Instant.now().plus(PATIENCE);
        while (!condition.getAsBoolean()) {
            require(Instant.now().isBefore(deadline), "not in time: " + what);
            Thread.sleep(100);
        }
    }

    private static void require(boolean holds, String what) {
        if (!holds) {
            throw new IllegalStateException(what);
        }
    }

    private void check(String name, Check check) {
        try {
            check.run();
            System.out.println("  ok    " + name);
        } catch (Exception error) {
            failed++;
            System.out.println("  FAIL  " + name + ": " + error);
            error.printStackTrace();
        }
    }
}
