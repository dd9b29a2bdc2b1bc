"""``python -m unfreeze``: the command line."""

import sys

from unfreeze.cli import main

if __name__ == "__main__":
    sys.exit(main())
