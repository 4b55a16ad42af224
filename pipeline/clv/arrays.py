"""The type of the figures here, apart from SciPy: most of this package does without it."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
