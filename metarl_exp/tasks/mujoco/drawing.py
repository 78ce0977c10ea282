"""A picture of a robot from its geometries alone: no display, no OpenGL.

Seen from far away (a parallel projection) a capsule is a thick line with round ends and a sphere a disc, whatever the
angle, so that a robot made of these is drawn exactly, parts behind before parts in front. The floor has tiles of 1 m.
"""

import math
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

WIDTH, HEIGHT = 480, 320
SMOOTH = 2  # pixels drawn for one that is shown, along each axis
SKY, TILES, EDGE, MARK = (255, 255, 255), ((232, 236, 232), (214, 220, 214)), (70, 60, 50), (200, 40, 40)
SPHERE, CAPSULE = 2, 3  # mjtGeom
DEPTH = 3  # tiles before and behind the point looked at


def picture(
    model: Any, data: Any, target: np.ndarray, metres: float, elevation: float, mark: np.ndarray | None
) -> np.ndarray:
    """The geometries of `data` as an image [HEIGHT, WIDTH, 3], uint8.

    One looks along +y and down by `elevation` (degrees) at `target` (x, y, z), `metres` wide; `mark` (x, y) is a place
    on the floor to show.
    """
    image = Image.new("RGB", (WIDTH * SMOOTH, HEIGHT * SMOOTH), SKY)
    draw = ImageDraw.Draw(image)
    scale = WIDTH * SMOOTH / metres
    sine, cosine = math.sin(math.radians(elevation)), math.cos(math.radians(elevation))

    def project(points: Any) -> np.ndarray:
        """Pixels [..., 2] of points [..., 3]."""
        x, y, z = np.moveaxis(np.asarray(points, dtype=float) - target, -1, 0)
        up = z * cosine + y * sine
        return np.stack([WIDTH * SMOOTH / 2 + scale * x, HEIGHT * SMOOTH / 2 - scale * up], axis=-1)

    def disc(centre: np.ndarray, radius: float, colour: tuple[int, ...]) -> None:
        x, y = centre
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    reach = math.ceil(metres / 2) + 1
    left, near = (math.floor(v) for v in target[:2])
    for i in range(left - reach, left + reach + 1):
        for j in range(near - DEPTH, near + DEPTH + 1):
            corners = [(i, j, 0), (i + 1, j, 0), (i + 1, j + 1, 0), (i, j + 1, 0)]
            draw.polygon([tuple(p) for p in project(corners)], fill=TILES[(i + j) % 2])
    if mark is not None:
        disc(project([*mark, 0.0]), 0.12 * scale, MARK)

    towards = np.array([0.0, -cosine, sine])  # to the one who looks
    parts = [g for g in range(model.ngeom) if model.geom_type[g] in (SPHERE, CAPSULE)]
    for g in sorted(parts, key=lambda g: data.geom_xpos[g] @ towards):
        radius, half = model.geom_size[g, :2] if model.geom_type[g] == CAPSULE else (model.geom_size[g, 0], 0.0)
        axis = data.geom_xmat[g].reshape(3, 3)[:, 2]
        ends = project([data.geom_xpos[g] - half * axis, data.geom_xpos[g] + half * axis])
        for grown, colour in ((0.015, EDGE), (0.0, tuple(int(255 * c) for c in model.geom_rgba[g, :3]))):
            thickness = (radius + grown) * scale
            draw.line([tuple(p) for p in ends], fill=colour, width=round(2 * thickness))
            for end in ends:
                disc(end, thickness, colour)
    return np.asarray(image.reduce(SMOOTH))


def robot(mujoco: Any, model: Any, qpos: np.ndarray, mark: np.ndarray | None) -> np.ndarray:
    """A robot in a pose from the side; from above, with its goal `mark`, where the goal is a place."""
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    if mark is None:
        x, y, _ = data.xpos[1]
        return picture(model, data, np.array([x, y, 0.6]), metres=4.0, elevation=10.0, mark=None)
    return picture(model, data, np.zeros(3), metres=10.0, elevation=60.0, mark=mark)
