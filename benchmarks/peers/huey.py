"""Huey: ``huey_consumer benchmarks.peers.huey.huey --workers 10``; it has no setting against crashes."""

from huey import RedisHuey

from . import driver

huey = RedisHuey("bench", url=driver.URL, results=False)


@huey.task()
def noop(sent_ns):
    driver.mark(sent_ns)


if __name__ == "__main__":
    from benchmarks.peers import huey as known  # a task is called by its module

    driver.main(enqueue=known.noop)
