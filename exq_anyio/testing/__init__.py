"""For the tests of programs that enqueue or perform jobs."""
