"""``python -m components`` is the command ``components``."""

from components.cli import command

if __name__ == "__main__":
    command()
