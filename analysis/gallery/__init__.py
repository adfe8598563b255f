"""Makes a gallery of a study's videos: a static folder that a browser opens from disk."""

from analysis.gallery.data import gallery_data
from analysis.gallery.page import write_gallery

__all__ = ["gallery_data", "write_gallery"]
