"""`python -m arhn` is `arhn`."""

import sys

if __name__ == "__main__":
    try:
        from arhn.cli import main
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(main())
