"""`python -m knedit` is `knedit`."""

from knedit.cli.main import main

if __name__ == "__main__":
    main()
