// Runs the example of the documentation against a producer of its own: two records in a
// transaction, and a third of unknown outcome. With a second argument the final read misses one.

import java.io.File;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.*;

public final class Drive {
    static final class OnePartition implements Producer<String, String> {
        long end = 0;

        @Override
        public Future<RecordMetadata> send(ProducerRecord<String, String> record, Callback callback) {
            RecordMetadata at = new RecordMetadata(0, end);
            if (record.value.equals("lost connection")) {
                callback.onCompletion(null, new RuntimeException(record.value));
            } else {
                end += 1;
                callback.onCompletion(at, null);
            }
            return CompletableFuture.completedFuture(at);
        }

        @Override
        public void commitTransaction() {
            end += 1;
        }
    }

    public static void main(String[] args) throws Exception {
        try (Recorder recorder = new Recorder(new File(args[0]))) {
            long call = recorder.calls.incrementAndGet();
            recorder.event("till", "init-transactions", "call", call, "id", "till");
            recorder.event("till", "session", "producer_id", 7);
            recorder.event("till", "init-transactions-end", "call", call, "outcome", "ok");
            recorder.event("till", "begin", "number", 1);
            OnePartition producer = new OnePartition();
            recorder.send(producer, "orders", "order-1", "a");
            recorder.send(producer, "orders", "order-2", "b");
            recorder.commit(producer, "till", 1);
            recorder.send(producer, "orders", "order-3", "lost connection");
            StringBuilder read = new StringBuilder("[");
            for (int offset = 0; offset < (args.length > 1 ? 1 : 2); offset++) {
                read.append(offset > 0 ? "," : "").append("{\"topic\":\"orders\",\"partition\":0");
                read.append(",\"offset\":" + offset + ",\"record\":\"order-" + (offset + 1) + "\"}");
            }
            recorder.event("audit", "poll-end", "records", read.append("]"));
            recorder.event("audit", "drained", "topic", "orders", "partition", 0, "to", producer.end);
        }
    }
}
