import sys
from pathlib import Path

# `benchmarks` is no part of the installed package; it is run from the checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
