"""The parts of ``benchmarks/full_steps.py``: a training step of each library, and processes that take them in turn."""
