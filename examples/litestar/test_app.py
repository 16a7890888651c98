"""The tests of the application beside this.

::

    pip install "exq-anyio[embedded]" "litestar[standard]" pytest
    pytest examples/litestar
"""

from collections.abc import Iterator

import anyio
import app
import pytest
from litestar.testing import AsyncTestClient

from exq_anyio.testing import Mock

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def nobody_is_welcomed() -> Iterator[None]:
    yield
    app.welcomed.clear()


async def test_a_request_enqueues_and_a_second_one_is_a_conflict(exq_mock: Mock) -> None:
    async with AsyncTestClient(app.app) as client:
        first = await client.post("/users/7/welcome")
        second = await client.post("/users/7/welcome")
    assert (first.status_code, second.status_code) == (202, 409)
    (job,) = exq_mock.assert_enqueued(app.welcome.job(7), count=1)
    assert job.jid == first.json()["jid"]


async def test_a_job_is_performed_within_the_request(exq_inline: Mock) -> None:
    async with AsyncTestClient(app.app) as client:
        await client.post("/users/7/welcome")
    assert app.welcomed == [7]


async def test_the_application_performs_its_jobs_itself(exq_redis: Mock) -> None:
    async with AsyncTestClient(app.app) as client:
        await client.post("/users/7/welcome")
        with anyio.fail_after(10):
            while app.welcomed != [7]:
                await anyio.sleep(0.01)
