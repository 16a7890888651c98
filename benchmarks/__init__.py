"""How fast the library is, and how fast Python with coredis can be: ``python -m benchmarks.harness --help``."""
