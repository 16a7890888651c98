"""RQ: ``rq worker --quiet --url ... [--worker-class rq.SimpleWorker]``; it forks for each job unless it is simple."""

from redis import Redis
from rq import Queue

from . import driver

queue = Queue(connection=Redis.from_url(driver.URL))
OPTIONS = {"result_ttl": 0}


def enqueue(sent_ns):
    queue.enqueue(driver.mark, sent_ns, **OPTIONS)


def many(jobs):
    queue.enqueue_many([Queue.prepare_data(driver.mark, (0,), **OPTIONS) for _ in range(jobs)])


if __name__ == "__main__":
    driver.main(enqueue=enqueue, many=many)
