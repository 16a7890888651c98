"""The tests of the application beside this.

::

    pip install "exq-anyio[embedded]" quart-trio pytest
    pytest examples/quart_trio
"""

from collections.abc import Iterator

import pytest
import trio
import web

from exq_anyio.testing import Mock

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


@pytest.fixture(autouse=True)
def nobody_is_welcomed() -> Iterator[None]:
    yield
    web.welcomed.clear()


async def test_a_request_enqueues(exq_mock: Mock) -> None:
    async with web.create_app().test_app() as app:
        answer = await app.test_client().post("/users/7/welcome")
        jid = (await answer.get_json())["jid"]
    (job,) = exq_mock.assert_enqueued(web.welcome.job(7), count=1)
    assert (answer.status_code, job.jid) == (202, jid)


async def test_a_job_is_performed_within_the_request(exq_inline: Mock) -> None:
    async with web.create_app().test_app() as app:
        await app.test_client().post("/users/7/welcome")
    assert web.welcomed == [7]


async def test_the_application_performs_its_jobs_itself(exq_redis: Mock) -> None:
    async with web.create_app().test_app() as app:
        await app.test_client().post("/users/7/welcome")
        with trio.fail_after(10):
            while web.welcomed != [7]:
                await trio.sleep(0.01)
