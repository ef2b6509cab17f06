"""The common corruptions of images [Hendrycks2019]_: made here, or read from the published folders.

They are functions on images and readers of files, which know neither models nor lenses.
"""

from __future__ import annotations

from filterlens.inputs.corruptions.severities import CORRUPTIONS, MADE, SEVERITIES
from filterlens.inputs.corruptions.sources import Corrupted, MadeHere, corrupted_images

__all__ = ["CORRUPTIONS", "MADE", "SEVERITIES", "Corrupted", "MadeHere", "corrupted_images"]
