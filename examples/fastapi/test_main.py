"""The tests of the application beside this.

::

    pip install "exq-anyio[embedded]" fastapi httpx pytest
    pytest examples/fastapi
"""

from collections.abc import Iterator

import anyio
import main
import pytest
from fastapi.testclient import TestClient

from exq_anyio.testing import Mock


@pytest.fixture(autouse=True)
def nobody_is_welcomed() -> Iterator[None]:
    yield
    main.welcomed.clear()


def test_a_request_enqueues_and_a_second_one_is_a_conflict(exq_mock: Mock) -> None:
    with TestClient(main.app) as client:
        first = client.post("/users/7/welcome")
        assert (first.status_code, client.post("/users/7/welcome").status_code) == (202, 409)
    (job,) = exq_mock.assert_enqueued(main.welcome.job(7), count=1)
    assert job.jid == first.json()["jid"]


def test_a_job_is_performed_within_the_request(exq_inline: Mock) -> None:
    with TestClient(main.app) as client:
        client.post("/users/7/welcome")
    assert main.welcomed == [7]


def test_the_application_performs_its_jobs_itself(exq_redis: Mock) -> None:
    async def performed() -> None:
        with anyio.fail_after(10):
            while main.welcomed != [7]:
                await anyio.sleep(0.01)

    with TestClient(main.app) as client:
        client.post("/users/7/welcome")
        assert client.portal is not None
        client.portal.call(performed)
