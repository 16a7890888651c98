"""Celery: ``celery --app benchmarks.peers.celery worker --pool ...``."""

from celery import Celery

from . import driver

app = Celery("bench", broker=driver.URL)
app.conf.update(task_ignore_result=True, worker_send_task_events=False, broker_connection_retry_on_startup=True)
if driver.SAFE:
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        broker_transport_options={"visibility_timeout": 5},
    )
else:
    app.conf.update(worker_prefetch_multiplier=10)


@app.task(name="noop")
def noop(sent_ns):
    driver.mark(sent_ns)


if __name__ == "__main__":
    driver.main(enqueue=noop.delay)
