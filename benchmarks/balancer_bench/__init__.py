"""The parts of ``benchmarks/balancers.py``: the data, one run, and what the runs say."""
