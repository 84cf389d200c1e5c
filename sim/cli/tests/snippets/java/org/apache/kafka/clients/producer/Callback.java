// As much of the Kafka client as the example of the documentation needs.
package org.apache.kafka.clients.producer;

public interface Callback {
    void onCompletion(RecordMetadata metadata, Exception exception);
}
