"""``python -m crowdjax.cli``."""

from crowdjax.cli import main

if __name__ == "__main__":
    main()
