"""Faces with something painted onto them: covers of the mouth, things beside it, beards, open mouths; and damage."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from reenactor.face.geometry.contours import FACE_OVAL, OUTER_LIPS
from reenactor.face.perception.landmarks import PATCH_PX

Picture = UInt8[np.ndarray, "192 192 3"]
Mesh = Float[np.ndarray, "478 3"]

_JAW = FACE_OVAL[FACE_OVAL.index(454) :]
"""From the image-right ear around the chin to the image-left one."""
_CHEEKS = (50, 280)
_KINDS = {
    "mask": 0.2,
    "scarf": 0.08,
    "hand": 0.24,
    "microphone": 0.13,
    "box": 0.09,
    "blob": 0.1,
    "beard": 0.1,
    "open": 0.06,
}
"""What is painted, and how often."""


def painted(
    patch: Picture, mesh: Mesh, donor: tuple[Picture, Mesh], rng: np.random.Generator
) -> tuple[Picture, Float32[np.ndarray, "192 192"]]:
    """A face with something before or beside its mouth, and how much that hides of each pixel, 0 to 1.

    Masks and scarves are cloth; hands have the skin of this person or of the donor; microphones, phones and other
    things are dark, plain, patterned, or a part of the donor's picture. Edges are sharp or soft. Beards and open
    mouths hide nothing.

    Args:
        patch: RGB.
        mesh: its landmarks.
        donor: another face and its landmarks.
        rng: decides everything.
    """
    mouth = mesh[list(OUTER_LIPS), :2].mean(0)
    kind = rng.choice(list(_KINDS), p=list(_KINDS.values()))
    alpha = np.zeros((PATCH_PX, PATCH_PX), np.float32)
    if kind == "open":
        return _opened(patch, mesh, rng), alpha
    if kind == "beard":
        return _bearded(patch, mesh, rng), alpha
    if kind in ("mask", "scarf"):
        _fill(alpha, _cloth(mesh, rng, wide=kind == "scarf"))
        colour = _shaded(_stuff(donor, rng), rng, folds=True)
    else:
        # On the mouth, or anywhere.
        at = mouth + rng.normal(0, rng.choice([6.0, 45.0], p=[0.55, 0.45]), 2)
        if kind == "hand":
            skin = (patch, mesh) if rng.random() < 0.6 else donor
            colour = _hand(alpha, at, _skin(*skin, rng), rng)
        elif kind == "microphone":
            colour = _microphone(alpha, at, rng)
        else:
            _fill(alpha, _outline(at, rng, corners=4 if kind == "box" else int(rng.integers(5, 12))))
            colour = _shaded(_stuff(donor, rng), rng, folds=False)
    alpha = cv2.GaussianBlur(alpha, (0, 0), float(rng.choice([0.5, 1.0, 3.0], p=[0.5, 0.35, 0.15])))
    base = patch.astype(np.float32)
    if rng.random() < 0.4:
        shadow = np.roll(alpha, (int(rng.integers(0, 6)), int(rng.integers(-4, 5))), (0, 1))
        base *= 1 - 0.5 * cv2.GaussianBlur(shadow, (0, 0), 4)[..., None]
    mixed = base + alpha[..., None] * (colour - base)
    return np.clip(mixed, 0, 255).astype(np.uint8), alpha


def hidden(alpha: Float32[np.ndarray, "192 192"], mesh: Mesh, contour: tuple[int, ...]) -> float:
    """Fraction of the inside of a contour of landmarks that is hidden."""
    inside = np.zeros((PATCH_PX, PATCH_PX), np.float32)
    _fill(inside, mesh[list(contour), :2])
    return float((alpha * inside).sum() / max(inside.sum(), 1))


def _fill(alpha: Float32[np.ndarray, "192 192"], points: Float[np.ndarray, "n 2"], value: float = 1.0) -> None:
    cv2.fillPoly(alpha, [np.round(points * 16).astype(np.int32)], (value,), cv2.LINE_AA, 4)


def _cloth(mesh: Mesh, rng: np.random.Generator, *, wide: bool) -> Float[np.ndarray, "n 2"]:
    """Outline of cloth: a mask along the jaw, or a scarf that reaches the picture's lower edge."""
    jaw = mesh[list(_JAW), :2].astype(np.float64)
    top = mesh[1, :2] + rng.uniform(-0.15, 0.75) * (mesh[168, :2] - mesh[1, :2])
    if wide:
        top = mesh[1, :2] + rng.uniform(-0.6, 1.0) * (mesh[0, :2] - mesh[1, :2])
    skip = int(rng.integers(0, 4))
    jaw = jaw[skip : len(jaw) - skip]
    centre = mesh[13, :2]
    jaw = centre + rng.uniform(0.92, 1.15) * (jaw - centre)
    jaw += rng.normal(0, 1.0, jaw.shape)
    if wide:
        out = rng.uniform(0, 40, 2)
        edge = np.array([[jaw[0, 0] + out[0], PATCH_PX + 9], [jaw[-1, 0] - out[1], PATCH_PX + 9]])
        jaw = np.stack([jaw[0] + np.array([out[0], 0]), *edge, jaw[-1] - np.array([out[1], 0])])
    between = [
        end + t * (top - end) - np.array([0, rng.uniform(-2, 6) * np.sin(np.pi * t)])
        for end, times in ((jaw[-1], (0.4, 0.75, 1.0)), (jaw[0], (0.75, 0.4)))
        for t in times
    ]
    return np.concatenate([jaw, between])


def _outline(at: np.ndarray, rng: np.random.Generator, *, corners: int) -> Float[np.ndarray, "n 2"]:
    """A rectangle, or a random outline of more corners, around a point."""
    size = rng.uniform(12, 55, 2)
    if corners == 4:
        points = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * size
    else:
        angle = np.sort(rng.uniform(0, 2 * np.pi, corners))
        points = np.stack([np.cos(angle), np.sin(angle)], 1) * size * rng.uniform(0.6, 1.2, (corners, 1))
    turn = rng.uniform(0, np.pi)
    c, s = np.cos(turn), np.sin(turn)
    return points @ np.array([[c, s], [-s, c]]) + at


def _hand(
    alpha: Float32[np.ndarray, "192 192"],
    at: np.ndarray,
    skin: Float32[np.ndarray, "192 192 3"],
    rng: np.random.Generator,
) -> Float32[np.ndarray, "192 192 3"]:
    """Fingers side by side and sometimes the palm, filled into alpha; its colours, darker between the fingers."""
    turn = rng.uniform(0, 2 * np.pi)
    along = np.array([np.cos(turn), np.sin(turn)])
    across = np.array([-along[1], along[0]])
    width, fingers = rng.uniform(9, 17), int(rng.integers(2, 6))
    shade = np.ones((PATCH_PX, PATCH_PX), np.float32)
    if rng.random() < 0.6:
        palm = at - along * rng.uniform(25, 50)
        axes = (int(rng.uniform(25, 45)), int(width * fingers / 2))
        cv2.ellipse(
            alpha, tuple(np.round(palm).astype(int).tolist()), axes, float(np.degrees(turn)), 0, 360, (1.0,), -1
        )
    for k in range(fingers):
        start = at + across * (k - (fingers - 1) / 2) * width * rng.uniform(0.95, 1.05) - along * rng.uniform(30, 60)
        tip = start + along * rng.uniform(45, 95) + across * rng.normal(0, 3)
        ends = [tuple(np.round(p).astype(int).tolist()) for p in (start, tip)]
        cv2.line(alpha, ends[0], ends[1], (1.0,), round(width), cv2.LINE_AA)
        cv2.line(shade, ends[0], ends[1], (float(rng.uniform(0.45, 0.8)),), round(width), cv2.LINE_AA)
        cv2.line(shade, ends[0], ends[1], (float(rng.uniform(0.9, 1.1)),), max(1, round(width * 0.75)), cv2.LINE_AA)
    return skin * cv2.GaussianBlur(shade, (0, 0), 1.5)[..., None]


def _microphone(
    alpha: Float32[np.ndarray, "192 192"], at: np.ndarray, rng: np.random.Generator
) -> Float32[np.ndarray, "192 192 3"]:
    """A round head with a grid and a handle that leaves the picture, filled into alpha; its colours."""
    head, turn = rng.uniform(14, 34), rng.normal(np.pi / 2, 0.5)
    x, y = np.round(at).astype(int).tolist()
    axes = (round(head * rng.uniform(0.9, 1.3)), round(head))
    end = np.round(at + 250 * np.array([np.cos(turn), np.sin(turn)])).astype(int).tolist()
    cv2.line(alpha, (x, y), tuple(end), (1.0,), max(2, round(head * rng.uniform(0.5, 1.3))), cv2.LINE_AA)
    cv2.ellipse(alpha, (x, y), axes, float(np.degrees(turn)), 0, 360, (1.0,), -1, cv2.LINE_AA)
    base = rng.uniform(10, 90) * rng.uniform(0.9, 1.1, 3) if rng.random() < 0.75 else rng.uniform(0, 255, 3)
    at_px = np.arange(PATCH_PX)
    step = rng.uniform(2.5, 6)
    grid = np.sin(2 * np.pi * at_px / step)[:, None] * np.sin(2 * np.pi * at_px / step)[None]
    far = np.hypot(at_px[None] - x + head * 0.3, at_px[:, None] - y + head * 0.3) / head
    light = 1 + rng.uniform(0, 0.4) * grid + rng.uniform(0, 1.5) * np.exp(-2 * far**2)
    return (base * light[..., None]).astype(np.float32)


def _bearded(patch: Picture, mesh: Mesh, rng: np.random.Generator) -> Picture:
    """A beard, or the shadow of one, with or without a moustache; lips stay as they are."""
    top = [205, int(rng.choice([2, 18])), 425]
    jaw = mesh[list(_JAW), :2]
    skip = int(rng.integers(1, 8))
    hair = np.zeros((PATCH_PX, PATCH_PX), np.float32)
    _fill(hair, np.concatenate([jaw[skip : len(jaw) - skip], mesh[top, :2]]), float(rng.uniform(0.25, 0.95)))
    hair = cv2.GaussianBlur(hair, (0, 0), float(rng.uniform(1, 4)))
    _fill(hair, mesh[list(OUTER_LIPS), :2], 0.0)
    hair = cv2.GaussianBlur(hair, (0, 0), 0.8) * rng.uniform(0.6, 1.0, hair.shape)
    colour = (rng.uniform(5, 70) if rng.random() < 0.75 else rng.uniform(100, 220)) * np.array([1.15, 1.0, 0.9])
    return np.clip(patch + hair[..., None] * (colour - patch), 0, 255).astype(np.uint8)


def _opened(patch: Picture, mesh: Mesh, rng: np.random.Generator) -> Picture:
    """A mouth open wide: lips around a dark ellipse, sometimes with teeth."""
    lips = mesh[list(OUTER_LIPS), :2]
    x, y = lips.mean(0)
    half_width, half_height = 0.5 * np.ptp(lips[:, 0]) * rng.uniform(0.6, 1.0), rng.uniform(8, 28)
    at = (round(float(x)), round(float(y + 0.6 * half_height)))
    red = patch[np.clip(np.round(lips[:, 1]).astype(int), 0, 191), np.clip(np.round(lips[:, 0]).astype(int), 0, 191)]
    out = patch.copy()
    dark = (rng.uniform(10, 60) * np.array([1.3, 0.8, 0.8])).tolist()
    for colour, edge in ((red.mean(0).tolist(), 0), (dark, 5)):
        axes = (max(1, round(half_width - edge)), max(1, round(half_height - edge)))
        cv2.ellipse(out, at, axes, 0, 0, 360, colour, -1, cv2.LINE_AA)
    if rng.random() < 0.6:
        teeth = (max(1, round(half_width - 8)), max(1, round(0.4 * half_height)))
        white = (rng.uniform(150, 240) * np.array([1, 0.98, 0.92])).tolist()
        cv2.ellipse(out, (at[0], at[1] - round(0.5 * half_height)), teeth, 0, 0, 360, white, -1, cv2.LINE_AA)
    return cv2.GaussianBlur(out, (0, 0), 0.8)


def _stuff(donor: tuple[Picture, Mesh], rng: np.random.Generator) -> Float32[np.ndarray, "192 192 3"]:
    """What things look like: plain, striped or dotted, blotched, or a part of the donor's picture."""
    kind = rng.integers(4)
    first, second = rng.uniform(0, 255, (2, 3)) if rng.random() < 0.6 else rng.uniform(0, 255, (2, 1)).repeat(3, 1)
    y, x = np.mgrid[:PATCH_PX, :PATCH_PX].astype(np.float32)
    weight = np.zeros((PATCH_PX, PATCH_PX), np.float32)
    if kind == 1:
        turn, step = rng.uniform(0, np.pi), rng.uniform(4, 40)
        weight = np.sin((x * np.cos(turn) + y * np.sin(turn)) * (2 * np.pi / step))
        if rng.random() < 0.5:
            weight = weight * np.sin((y * np.cos(turn) - x * np.sin(turn)) * (2 * np.pi / step))
        weight = (weight > rng.uniform(-0.5, 0.7)).astype(np.float32)
    elif kind == 2:
        weight = _smooth(rng, int(rng.integers(4, 24)))
    elif kind == 3:
        return _part(donor[0], rng.integers(0, PATCH_PX, 2), int(rng.integers(40, 192)))
    return (first + weight[..., None] * (second - first)).astype(np.float32)


def _skin(patch: Picture, mesh: Mesh, rng: np.random.Generator) -> Float32[np.ndarray, "192 192 3"]:
    """Skin of a cheek, a little lighter or darker."""
    at = mesh[int(rng.choice(_CHEEKS)), :2]
    return _shaded(_part(patch, at - 10, 20), rng, folds=False) * rng.uniform(0.9, 1.1, 3).astype(np.float32)


def _part(patch: Picture, corner: np.ndarray, side: int) -> Float32[np.ndarray, "192 192 3"]:
    """A square of a picture, enlarged to a patch."""
    x, y = (int(np.clip(value, 0, PATCH_PX - side)) for value in corner)
    part = cv2.resize(patch[y : y + side, x : x + side], (PATCH_PX, PATCH_PX), interpolation=cv2.INTER_LINEAR)
    return part.astype(np.float32)


def _smooth(rng: np.random.Generator, cells: int) -> Float32[np.ndarray, "192 192"]:
    """A smooth random field, 0 to 1."""
    return cv2.resize(rng.random((cells, cells), np.float32), (PATCH_PX, PATCH_PX), interpolation=cv2.INTER_LINEAR)


def _shaded(
    stuff: Float32[np.ndarray, "192 192 3"], rng: np.random.Generator, *, folds: bool
) -> Float32[np.ndarray, "192 192 3"]:
    """Lit unevenly; with folds also lines across."""
    light = 1 + rng.uniform(0, 0.7) * (_smooth(rng, int(rng.integers(2, 6))) - 0.6)
    if folds:
        waves = np.arange(PATCH_PX)[:, None] + 25 * _smooth(rng, 3)
        light = light + rng.uniform(0, 0.15) * np.sin(waves * (2 * np.pi / rng.uniform(6, 30)))
    noise = rng.normal(0, rng.uniform(0, 6), (PATCH_PX, PATCH_PX, 1))
    return (stuff * light[..., None] + noise).astype(np.float32)


def damaged(patch: Picture, rng: np.random.Generator) -> Picture:
    """Lighter or darker, tinted or grey, blurred, coarser or compressed, as photos are."""
    image = patch.astype(np.float32)
    if rng.random() < 0.15:
        image = image.mean(-1, keepdims=True).repeat(3, -1)
    image = 255 * (image / 255) ** np.exp(rng.normal(0, 0.35))
    image = (image - 128) * rng.uniform(0.6, 1.35) + 128 + rng.normal(0, 18) + rng.normal(0, 6, 3)
    image = np.clip(image, 0, 255).astype(np.uint8)
    if rng.random() < 0.4:
        side = int(rng.uniform(56, PATCH_PX))
        small = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        image = cv2.resize(small, (PATCH_PX, PATCH_PX), interpolation=cv2.INTER_CUBIC)
    if rng.random() < 0.4:
        _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 95))])
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.asarray(image, np.uint8)
