"""Strata: raw sales, channel and survey data into customer segments that marketing tools can trust."""

import os

# Before anybody imports numpy: on the four numbers of a fit the threads of BLAS only wait for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
