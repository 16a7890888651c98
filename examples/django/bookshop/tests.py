"""The tests of the shop: ``python manage.py test``, or pytest with pytest-django."""

from django.test import TestCase

from exq_anyio.testing import Mock

from .jobs import charge
from .models import Order
from .orders import place


class OrderTest(TestCase):
    """Django rolls back what a test does, so that nothing is ever committed: the callbacks are called by hand."""

    def test_an_order_is_charged_when_it_is_stored(self) -> None:
        with Mock() as mock:
            with self.captureOnCommitCallbacks(execute=True):
                order = place(1999)
                mock.assert_enqueued(count=0)
            mock.assert_enqueued(charge.job(order.pk), count=1)

    def test_an_order_that_is_refused_is_not_charged(self) -> None:
        with Mock() as mock, self.captureOnCommitCallbacks(execute=True), self.assertRaises(ValueError):
            place(0)
        mock.assert_enqueued(count=0)

    def test_the_job_sees_what_the_test_has_not_committed(self) -> None:
        with Mock("inline"), self.captureOnCommitCallbacks(execute=True):
            order = place(1999)
        order.refresh_from_db()
        self.assertTrue(order.paid)

    def test_what_waits_is_performed_later(self) -> None:
        with Mock() as mock, self.captureOnCommitCallbacks(execute=True):
            place(1999)
        self.assertEqual([run.outcome for run in mock.drain_sync()], ["done"])
        self.assertTrue(Order.objects.get().paid)
