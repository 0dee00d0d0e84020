"""Published ways to take the step, tried: ``madam`` and our reading of ``sage``, both in :mod:`sharewise.optim`."""
