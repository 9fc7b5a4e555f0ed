"""Each small model is exported once."""

import pytest

from reenactor.engine.runtimes import Format, Precision, export_model
from small_models import people, small


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """(model, format, precision) -> the folder of its export."""
    folder, made = tmp_path_factory.mktemp("exports"), {}

    def export(name, kind=Format.OPENVINO, precision=Precision.FP32):
        place = folder / f"{name}-{kind.value}-{precision.value}"
        if place not in made:
            model = small(name)
            made[place] = export_model(
                model, place, kind=kind, precision=precision, calibration=people(model, 1), examples=people(model, 1)
            )
        return place

    return export
