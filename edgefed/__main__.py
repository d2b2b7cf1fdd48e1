"""``python -m edgefed``."""

from edgefed.cli import main

if __name__ == "__main__":
    main()
