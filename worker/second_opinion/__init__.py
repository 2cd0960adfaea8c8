"""What a vision model of somebody else says of a few slices: pictures without identity, a closed answer.

No words reach it: every vision model of a published test obeyed text within pictures. So pictures are drawn
anew from the voxels of the head alone, and none is sent in which text is found or that may hold some.
"""

from worker.second_opinion.pictures import SlicePicture, slice_pictures
from worker.second_opinion.seeking import seek, without_pictures
from worker.second_opinion.text_finder import TextFinder
from worker.second_opinion.withheld import Withheld

__all__ = ["SlicePicture", "TextFinder", "Withheld", "seek", "slice_pictures", "without_pictures"]
