"""``python -m crowdjax``: the command line."""

from crowdjax.cli import main

if __name__ == "__main__":
    main()
