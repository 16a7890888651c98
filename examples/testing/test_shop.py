"""The tests of the program beside this, with the fixtures that exq_anyio brings to pytest.

::

    pip install "exq-anyio[embedded]" pytest
    pytest examples/testing
"""

from collections.abc import Iterator
from datetime import timedelta

import anyio
import pytest
import shop

import exq_anyio as exq
from exq_anyio.testing import Mock

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def nothing_has_happened() -> Iterator[None]:
    yield
    shop.paid.clear()
    shop.sent.clear()


async def test_an_order_is_to_be_paid(exq_mock: Mock) -> None:
    await shop.place_order(7, 1999)
    exq_mock.assert_enqueued(shop.charge.job(7, 1999), count=1)
    assert shop.paid == []


async def test_who_has_no_money_is_reminded_after_three_days(exq_mock: Mock) -> None:
    await shop.place_order(8, 200_000)
    await exq_mock.drain(until=timedelta(days=2))
    assert (shop.sent, len(exq_mock.jobs(worker=shop.remind))) == ([], 1)
    await exq_mock.drain()
    assert (shop.sent, exq_mock.jobs()) == (["order 8 is not paid"], [])


async def test_an_order_without_a_price_is_tried_four_times(exq_mock: Mock) -> None:
    await shop.place_order(9, -1)
    runs = await exq_mock.drain(raises=False)
    assert [run.outcome for run in runs] == ["retry", "retry", "retry", "dead"]


def test_a_program_that_blocks(exq_inline: Mock) -> None:
    shop.place_order_and_block(7, 1999)
    assert shop.paid == [7]
    with pytest.raises(ValueError, match="order 9 costs -1 cents"):
        shop.place_order_and_block(9, -1)


@pytest.mark.exq(mode="inline")
async def test_the_marker_chooses_without_a_fixture() -> None:
    await shop.place_order(7, 1999)
    assert shop.paid == [7]


async def test_a_worker_on_a_real_server(exq_redis: Mock) -> None:
    async with exq.open(shop.config):
        await shop.place_order(7, 1999)
        with anyio.fail_after(10):
            while shop.paid != [7]:
                await anyio.sleep(0.01)
    exq_redis.assert_enqueued(shop.charge)
