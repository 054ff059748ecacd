"""``python -m crowdjax.cli``."""

from crowdjax.cli import main

main()
