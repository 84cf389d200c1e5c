// As much of the Kafka client as the example of the documentation needs.
package org.apache.kafka.clients.producer;

public interface Producer<K, V> {
    java.util.concurrent.Future<RecordMetadata> send(ProducerRecord<K, V> record, Callback callback);

    void commitTransaction();
}
