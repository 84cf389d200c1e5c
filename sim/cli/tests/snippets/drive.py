"""Runs the example of the documentation against clients of its own: two orders, one transaction that
makes invoices of them. With a second argument the final read misses an invoice."""

import sys

exec(open(sys.argv[1]).read())


class Message:
    def __init__(self, topic, offset, value, headers):
        self.place, self.content = (topic, 0, offset), (value, headers)

    def topic(self):
        return self.place[0]

    def partition(self):
        return self.place[1]

    def offset(self):
        return self.place[2]

    def value(self):
        return self.content[0]

    def headers(self):
        return [(key, value.encode()) for key, value in self.content[1].items()]


class Producer:
    def __init__(self):
        self.log = []

    def produce(self, topic, value, headers, on_delivery):
        self.log.append(Message(topic, len(self.log), value, headers))
        on_delivery(None, self.log[-1])

    def begin_transaction(self):
        pass

    def send_offsets_to_transaction(self, offsets, group):
        pass

    def commit_transaction(self):
        pass


class Position:
    topic, partition, offset = "orders", 0, 2


class Consumer:
    def __init__(self, log):
        self.log = log

    def consume(self, count, seconds):
        return self.log

    def assignment(self):
        return [("orders", 0)]

    def position(self, partitions):
        return [Position()]

    def consumer_group_metadata(self):
        return None


def drained(recorder, log, topic, end):
    records = [{"topic": topic, "partition": 0, "offset": m.offset(), "record": name(m)} for m in log]
    recorder.event("audit", "poll-end", records=records)
    recorder.event("audit", "drained", topic=topic, partition=0, to=end)


recorder = Recorder(sys.argv[2])
orders, invoices = Producer(), Producer()
for n in range(2):
    send(recorder, orders, f"order-{n}", "orders", "an order")
recorder.event("billing-0-producer", "init-transactions", call=0, id="billing-0")
recorder.event("billing-0-producer", "session", producer_id=4)
recorder.event("billing-0-producer", "init-transactions-end", call=0, outcome="ok")
process(recorder, Consumer(orders.log), invoices, "billing", 1)
drained(recorder, orders.log, "orders", 2)
drained(recorder, invoices.log[: 1 if len(sys.argv) > 3 else 2], "invoices", 3)
