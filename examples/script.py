"""A script that blocks, and enqueues: no event loop, nothing to open or to close.

::

    pip install exq-anyio
    cd examples
    export EXQ_URL=redis://localhost
    python script.py 7 8 9
    exq run script --queue invoices

The last command performs the jobs, until Ctrl-C.  In Flask, Django or anything with threads it is the same: one object
from ``exq.sync`` for all of them.
"""

import sys
from datetime import timedelta

import exq_anyio as exq

q = exq.sync()  # connects when it is first used


@exq.worker(queue="invoices", max_retries=3)
def write_invoice(order: int) -> None:
    """A plain ``def``: it runs in a thread of the worker process, and may block."""
    print(f"invoice of order {order}", flush=True)


def main() -> None:
    """Enqueue an invoice for each order on the command line, in one step, and one more for later."""
    orders = [int(order) for order in sys.argv[1:]]
    jids = q.enqueue_all(write_invoice.job(order) for order in orders)
    q.push(write_invoice.job(0).on(after=timedelta(days=1)))
    print(f"{len(jids)} jobs are enqueued, one is scheduled")


if __name__ == "__main__":
    main()
