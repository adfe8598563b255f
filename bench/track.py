"""The old name of `python -m analysis.publish.track`."""

from vgdfr_commands.moved import moved

if __name__ == "__main__":
    moved("analysis.publish.track")
