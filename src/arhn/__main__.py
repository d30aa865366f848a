"""`python -m arhn` is `arhn`."""

import sys

from arhn.cli import main

if __name__ == "__main__":
    sys.exit(main())
