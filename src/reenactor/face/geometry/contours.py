"""Contours of the 478-point face mesh as ordered vertex numbers (MediaPipe's topology).

Every closed contour starts at the image-left end and runs over the top first, so it is clockwise in the picture.
"""

from __future__ import annotations

FACE_OVAL: tuple[int, ...] = (
    *(127, 162, 21, 54, 103, 67, 109, 10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361),
    *(288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234),
)

OUTER_LIPS_UPPER: tuple[int, ...] = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291)
OUTER_LIPS_LOWER: tuple[int, ...] = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291)
OUTER_LIPS: tuple[int, ...] = OUTER_LIPS_UPPER + OUTER_LIPS_LOWER[-2:0:-1]
INNER_LIPS_UPPER: tuple[int, ...] = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
INNER_LIPS_LOWER: tuple[int, ...] = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
INNER_LIPS: tuple[int, ...] = INNER_LIPS_UPPER + INNER_LIPS_LOWER[-2:0:-1]
"""Edge of the mouth opening, 20 points."""

RIGHT_EYE_UPPER: tuple[int, ...] = (33, 246, 161, 160, 159, 158, 157, 173, 133)
RIGHT_EYE_LOWER: tuple[int, ...] = (33, 7, 163, 144, 145, 153, 154, 155, 133)
LEFT_EYE_UPPER: tuple[int, ...] = (362, 398, 384, 385, 386, 387, 388, 466, 263)
LEFT_EYE_LOWER: tuple[int, ...] = (362, 382, 381, 380, 374, 373, 390, 249, 263)
RIGHT_EYE: tuple[int, ...] = RIGHT_EYE_UPPER + RIGHT_EYE_LOWER[-2:0:-1]
"""Edge of the subject's right eye (image left), 16 points."""
LEFT_EYE: tuple[int, ...] = LEFT_EYE_UPPER + LEFT_EYE_LOWER[-2:0:-1]
"""Edge of the subject's left eye (image right), 16 points."""

RIGHT_IRIS: tuple[int, ...] = (468, 469, 470, 471, 472)
"""Iris of the subject's right eye (image left): its centre, then four points of its outline."""
LEFT_IRIS: tuple[int, ...] = (473, 474, 475, 476, 477)

OPENINGS = (
    (INNER_LIPS_UPPER, INNER_LIPS_LOWER),
    (RIGHT_EYE_LOWER, RIGHT_EYE_UPPER),
    (LEFT_EYE_LOWER, LEFT_EYE_UPPER),
)
"""Mouth and eyes, each as a fixed and a moving edge. What lies between keeps its distance from the fixed edge, and the
moving one covers or uncovers it: teeth hang from the skull as the upper lip does; the upper lid slides over the eye."""
