// As much of the Kafka client as the example of the documentation needs.
package org.apache.kafka.clients.producer;

public final class ProducerRecord<K, V> {
    public final V value;
    private final Headers headers = new Headers();

    public ProducerRecord(String topic, V value) {
        this.value = value;
    }

    public Headers headers() {
        return headers;
    }

    public static final class Headers {
        public Headers add(String key, byte[] value) {
            return this;
        }
    }
}
