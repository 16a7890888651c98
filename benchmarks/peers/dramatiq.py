"""dramatiq: ``dramatiq --processes 1 benchmarks.peers.dramatiq``."""

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from . import driver

broker = RedisBroker(
    url=driver.URL,
    # A worker that is silent for so long is dead, and whose command happens to be chosen for maintenance finds it.
    **({"heartbeat_timeout": 5000, "maintenance_chance": 100_000} if driver.SAFE else {}),
)
dramatiq.set_broker(broker)


@dramatiq.actor
def noop(sent_ns):
    driver.mark(sent_ns)


if __name__ == "__main__":
    driver.main(enqueue=noop.send)
