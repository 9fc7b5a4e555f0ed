"""Made-up times of a bench, whose sums are easily checked by hand."""

import numpy as np

from reenactor.engine.timing import Times


def fixed(ms):
    return Times(np.full(3, float(ms)), np.full(3, float(ms)))


PARTS = {
    "landmarks of a photo": fixed(5),
    "landmarks of a frame": fixed(3),
    "target landmark transformer": fixed(1),
    "target landmark transformer (8)": fixed(2),
    "driver landmark transformer": fixed(0.5),
}
"""All that table 6 of paper B is made of, besides the networks."""
