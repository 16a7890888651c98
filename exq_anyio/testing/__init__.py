"""For the tests of programs that enqueue or perform jobs; the pytest plugin offers it as fixtures."""

from .jobs import EnqueuedJob, Performed
from .mock import Mock, MockMode

__all__ = ["EnqueuedJob", "Mock", "MockMode", "Performed"]
