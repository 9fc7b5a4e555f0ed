"""Builds `src/reenactor/assets/mean_face.npz`, the mean 3D face, from the training split's portraits and clips.

    python tools/build_mean_face.py --data ../shared/data          # about 1 minute

How the face is oriented: x by its own symmetry (yaw and roll 0), pitch such that the median portrait has
pitch 0 (people who look into an official photographer's camera; the forehead is then 7 degrees nearer than
the chin). Its size: outer eye corners 1 apart. Origin: the weighted mean of its points. Eyes look straight:
irises are the median over portraits turned less than 8 degrees.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image
from scipy.optimize import linear_sum_assignment

from reenactor.core import MESH_POINTS, OUTER_EYE_CORNERS
from reenactor.face.geometry import angles_from_matrix, fit_similarity, matrix_from_angles
from reenactor.face.perception.detection import FaceDetector
from reenactor.face.perception.landmarks import FaceMesher, Region

OUT = Path(__file__).parents[1] / "src/reenactor/assets/mean_face.npz"
SURFACE = 468
MIN_PRESENCE = 0.5
EYE_CORNERS = (33, 133, 362, 263)
ROUNDS = 3
OUTLIERS = 0.02
"""Share of the meshes that fits worst and is left out: hands before faces, profile views."""
MIRROR = np.array([-1.0, 1.0, 1.0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the data pack: manifest.csv, portraits/, clips/")
    parser.add_argument("--frames", type=int, default=20, help="frames taken from each clip")
    parser.add_argument("--out", type=Path, default=OUT)
    options = parser.parse_args()
    meshes, is_portrait = collect(options.data, options.frames)
    face = build(meshes, is_portrait)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(options.out, **face)
    print(f"{len(meshes)} meshes -> {options.out} ({options.out.stat().st_size / 1024:.0f} KiB)")


def build(meshes: np.ndarray, is_portrait: np.ndarray) -> dict[str, np.ndarray]:
    """The asset's arrays from meshes (N, 478, 3) in pixels, of which some are portraits (N,)."""
    mirror = mirror_pairs(meshes)
    both = np.concatenate([meshes, meshes[:, mirror] * MIRROR])
    is_portrait = np.tile(is_portrait, 2)
    weights = np.full(MESH_POINTS, 1 / MESH_POINTS)
    for _ in range(ROUNDS):
        mean, aligned = generalized_procrustes(both, weights)
        error = ((aligned - mean) ** 2).sum(axis=-1)
        fits = (error @ weights) <= np.quantile(error @ weights, 1 - OUTLIERS)
        both, error = both[fits], error[fits]
        weights = rigidity(error.mean(axis=0), mirror)
        is_portrait = is_portrait[fits]

    points = symmetric(mean, mirror)
    pitch = angles_from_matrix(fit_similarity(points, both[is_portrait], weights).R)[:, 1]
    points = points @ matrix_from_angles(np.array([0, np.median(pitch), 0])).T
    points = straight_gaze(points, both[is_portrait], weights, mirror)
    right, left = points[list(OUTER_EYE_CORNERS)]
    points = (points - weights @ points) / np.linalg.norm(left - right)
    return {
        "points": points.astype(np.float32),
        "weights": weights.astype(np.float32),
        "mirror": mirror.astype(np.int32),
        "triangles": oriented_triangles(points).astype(np.int32),
    }


def rigidity(variance: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Weights (478,), sum 1: inverse residual variance, the same on both sides; a tenth where faces move."""
    from mediapipe.python.solutions import face_mesh_connections as parts

    moving = (
        parts.FACEMESH_LEFT_EYE,
        parts.FACEMESH_RIGHT_EYE,
        parts.FACEMESH_LIPS,
        parts.FACEMESH_LEFT_EYEBROW,
    )
    moving = {v for edges in (*moving, parts.FACEMESH_RIGHT_EYEBROW) for edge in edges for v in edge}
    moving = [*(moving - set(EYE_CORNERS)), *range(SURFACE, MESH_POINTS)]
    inverse = 1 / (variance + variance[mirror])
    inverse[moving] *= 0.1
    return inverse / inverse.sum()


def mirror_pairs(meshes: np.ndarray) -> np.ndarray:
    """Vertex that is nearest to each vertex's mirror image, one to one, (478,)."""
    mean, _ = generalized_procrustes(meshes)
    flipped = mean * MIRROR
    for _ in range(5):  # pair, align the mirrored face by these pairs, pair again
        cost = ((mean[:, None] - flipped[None]) ** 2).sum(axis=-1)
        order = linear_sum_assignment(cost + cost.T)[1]
        flipped = fit_similarity(flipped[order], mean).apply(flipped)
    assert (order[order] == np.arange(MESH_POINTS)).all(), "mirroring twice must change nothing"
    return order


def symmetric(face: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """The face turned so that its own plane of symmetry is x = 0, then made exactly symmetric."""
    across = face - face[mirror]
    axis = np.linalg.svd(across, full_matrices=False)[2][0]
    axis *= np.sign(axis[0])
    down = np.cross([0.0, 0.0, 1.0], axis)
    down /= np.linalg.norm(down)
    turned = face @ np.stack([axis, down, np.cross(axis, down)]).T
    turned[:, 0] -= (turned[:, 0] + turned[mirror, 0]).mean() / 2
    return (turned + turned[mirror] * MIRROR) / 2


def straight_gaze(points: np.ndarray, portraits: np.ndarray, weights: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Irises (10 last vertices) as they are in portraits that face the camera."""
    to_mean = fit_similarity(portraits, points, weights)
    yaw, pitch, _ = np.abs(angles_from_matrix(np.swapaxes(to_mean.R, -1, -2))).T
    irises = np.median(to_mean.apply(portraits)[(yaw < 8) & (pitch < 8)], axis=0)
    irises = (irises + irises[mirror] * MIRROR) / 2
    return np.concatenate([points[:SURFACE], irises[SURFACE:]])


def oriented_triangles(points: np.ndarray) -> np.ndarray:
    """The mesh's 852 triangles, clockwise in a frontal picture (x right, y down).

    MediaPipe lists only edges, whose order is lost. Of the graph's 854 3-cycles two are no triangles but the
    outlines of three: each of their edges belongs to three cycles.
    """
    from mediapipe.python.solutions.face_mesh_connections import FACEMESH_TESSELATION

    edges = {frozenset(edge) for edge in FACEMESH_TESSELATION}
    near = {v: {u for e in edges if v in e for u in e - {v}} for v in range(SURFACE)}
    cycles = {frozenset((*e, c)) for e in edges for c in set.intersection(*(near[v] for v in e))}
    uses = Counter(side for cycle in cycles for side in sides(sorted(cycle)))
    real = [sorted(c) for c in cycles if any(uses[s] < 3 for s in sides(sorted(c)))]
    euler = SURFACE - len(edges) + len(real)
    uses = Counter(side for triangle in real for side in sides(triangle))
    assert (len(real), euler, set(uses.values())) == (852, 1 - 3, {1, 2}), "not a disc with three holes"
    return np.array(sorted(clockwise(same_winding(real), points)))


def sides(triangle: list[int]) -> list[frozenset[int]]:
    a, b, c = triangle
    return [frozenset((a, b)), frozenset((b, c)), frozenset((c, a))]


def same_winding(triangles: list[list[int]]) -> list[tuple[int, ...]]:
    """Neighbours run along their common side in opposite directions."""
    by_side: dict[frozenset[int], list[int]] = {}
    for i, triangle in enumerate(triangles):
        for side in sides(triangle):
            by_side.setdefault(side, []).append(i)
    done = {0: tuple(triangles[0])}
    todo = [0]
    while todo:
        a, b, c = done[todo.pop()]
        for u, v in ((a, b), (b, c), (c, a)):
            for i in by_side[frozenset((u, v))]:
                if i not in done:
                    (other,) = set(triangles[i]) - {u, v}
                    done[i] = (v, u, other)
                    todo.append(i)
    return [done[i] for i in range(len(triangles))]


def clockwise(triangles: list[tuple[int, ...]], points: np.ndarray) -> list[tuple[int, ...]]:
    """All of them turned over if most of the area is counter-clockwise; the smallest vertex first."""
    a, b, c = (points[[t[k] for t in triangles], :2] for k in range(3))
    area = np.cross(b - a, c - a).sum()
    if area < 0:
        triangles = [t[::-1] for t in triangles]
    return [t[t.index(min(t)) :] + t[: t.index(min(t))] for t in triangles]


def collect(data: Path, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Meshes (N, 478, 3) of training portraits and of frames spread over training clips; which is which."""
    meshes, is_portrait = [], []
    detector, mesher = FaceDetector(), FaceMesher()
    with (data / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["split"] == "train"]
    for row in rows:
        for image in pictures(data / row["file"], max(1, int(row["frames"]) // frames)):
            boxes = detector.detect(image, thorough=False)
            if not boxes:
                continue
            mesh, presence = mesher.settled_mesh(image, Region.of_box(max(boxes, key=lambda box: box.width)))
            if presence >= MIN_PRESENCE:
                meshes.append(mesh)
                is_portrait.append(row["kind"] == "portrait")
    detector.close()
    mesher.close()
    return np.array(meshes, dtype=np.float64), np.array(is_portrait)


def pictures(file: Path, step: int) -> Iterator[np.ndarray]:
    """The photo, or every `step`-th frame of the clip."""
    if file.suffix != ".mp4":
        yield np.asarray(Image.open(file).convert("RGB"))
        return
    with av.open(str(file)) as container:
        for i, frame in enumerate(container.decode(video=0)):
            if i % step == 0:
                yield frame.to_ndarray(format="rgb24")


def generalized_procrustes(
    shapes: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    iterations: int = 10,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean shape, and every shape moved onto it (Gower 1975: align to the mean, average, repeat).

    Args:
        shapes: (b, n, d).
        weights: (n,) as for `fit_similarity`.
        iterations: 10 bring a few hundred faces well below 1e-6 of their size.

    Returns:
        The mean (weighted centre 0, weighted RMS radius 1, oriented like the first shape), and the aligned
        shapes.
    """
    w = np.ones(shapes.shape[-2]) if weights is None else np.asarray(weights, dtype=np.float64)
    w = w / w.sum()
    mean = _unit(np.asarray(shapes[0], dtype=np.float64), w)
    aligned = np.asarray(shapes, dtype=np.float64)
    for _ in range(iterations):
        aligned = fit_similarity(shapes, mean, w).apply(shapes)
        average = _unit(aligned.mean(axis=0), w)
        mean = _unit(fit_similarity(average, mean, w).apply(average), w)
    return mean, fit_similarity(shapes, mean, w).apply(shapes)


def _unit(points: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Weighted centre at 0, weighted RMS radius 1."""
    centred = points - w @ points
    return centred / np.sqrt((w @ centred**2).sum())


if __name__ == "__main__":
    main()
