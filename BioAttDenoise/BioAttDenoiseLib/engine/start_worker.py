"""Slicer runs this with PythonSlicer: finds the engine next to this folder, installed or in a clone, and runs its
worker.
"""

import os
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

if __name__ == "__main__":
    if hasattr(os, "nice"):
        os.nice(5)  # keep Slicer's window responsive

    from bioatt.worker.server import main

    main()
