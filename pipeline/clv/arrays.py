"""The type of the figures here, apart from SciPy: most of this package does without it."""

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
