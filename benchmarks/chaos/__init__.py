"""Faults without end on real processes and a real server, and then an exact account of every job.

``python -m benchmarks.chaos --minutes 20 --backend trio`` prints its seed and a table; the exit status is 0 when every
figure is as it must be.  The truth is not what Redis says, but what each process wrote down in a file of its own.
"""
