"""`python -m shardforge` is the `shardforge` command."""

from shardforge.cli import main

if __name__ == "__main__":
    main()
