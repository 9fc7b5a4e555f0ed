"""Shape annotations are checked at run time, in the tests only; a motion and a face that several rooms use."""

from jaxtyping import install_import_hook

# `core` imports PyTorch for type checkers only, so its annotations cannot be looked up. Integers pass as floats.
install_import_hook(
    [
        "reenact.geometry.contours",
        "reenact.geometry.crop",
        "reenact.geometry.mean_face",
        "reenact.geometry.mesh_map",
        "reenact.geometry.rotation",
        "reenact.geometry.sampling",
        "reenact.maps",
        "reenact.models",
        "reenact.nn",
        "reenact.perception",
        "reenact.retarget",
    ],
    "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))",
)
