"""``python -m components`` is the command ``components``."""

import sys

from components.cli import main

if __name__ == "__main__":
    sys.exit(main())
