#!/usr/bin/env python3
"""Random sets of boxes and the figures that pycocotools gives for them: coco/cases.json.

    python3 gen_coco.py [--sets 16] [--seed 1] [--out coco/cases.json]    # needs numpy and pycocotools

A set is a list of pictures; a picture has "truth" rows [class, x1, y1, x2, y2, crowd, area or -1] and "found" rows
[class, x1, y1, x2, y2, score or null]; null is NaN. Coordinates are multiples of 1/8 and scores are float32, so they
lose nothing on their way. Sets differ on purpose: without objects, without detections, with equal scores, crowds,
foreign classes, NaN, empty boxes, more than 100 detections of a class.
"""
import argparse
import contextlib
import io
import json
import os

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def make_box(rng, limit=400):
    size = np.exp(rng.uniform(np.log(4), np.log(250), 2))
    x1, y1 = rng.uniform(0, limit, 2)
    box = np.array([x1, y1, x1 + size[0], y1 + size[1]])
    return np.round(box * 8) / 8 if rng.random() < 0.7 else np.round(box / 4) * 4


def shifted(rng, box):
    spread = np.array([box[2] - box[0], box[3] - box[1]] * 2) * rng.uniform(0, 0.35)
    moved = np.round((box + rng.uniform(-1, 1, 4) * spread) * 8) / 8
    return np.array([min(moved[0], moved[2]), min(moved[1], moved[3]), max(moved[0], moved[2]), max(moved[1], moved[3])])


def make_set(rng, number):
    classes = int(rng.integers(1, 5))
    coarse, crowds, nans = rng.random() < 0.5, rng.random() < 0.5, number % 5 == 3
    pictures = []
    for _ in range(int(rng.integers(1, 6))):
        truth, found = [], []
        for _ in range(0 if number % 8 == 1 else int(rng.integers(0, 8))):
            box = make_box(rng)
            area = (box[2] - box[0]) * (box[3] - box[1])
            truth.append([int(rng.integers(0, classes)), *box.tolist(), bool(crowds and rng.random() < 0.3),
                          float(np.round(area * rng.uniform(0.3, 1))) if rng.random() < 0.5 else -1])
        many = number % 8 == 5 and not pictures
        for _ in range(0 if number % 8 == 2 else 130 if many else int(rng.integers(0, 16))):
            if truth and rng.random() < 0.8:
                source = truth[int(rng.integers(0, len(truth)))]
                cls, box = source[0], shifted(rng, np.array(source[1:5]))
            else:
                cls, box = int(rng.integers(0, classes + 1)), make_box(rng)
            if many:
                cls = 0
            if rng.random() < 0.03:
                box[2] = box[0]
            score = float(np.float32(rng.integers(0, 5) / 4 if coarse else rng.random()))
            found.append([cls, *box.tolist(), None if nans and rng.random() < 0.2 else score])
        pictures.append({"truth": truth, "found": found})
    return pictures


def xywh(row):
    x1, y1, x2, y2 = row[1:5]
    return [x1, y1, x2 - x1, y2 - y1]


def coco_of(pictures, annotations):
    coco = COCO()
    classes = range(max([a["category_id"] for a in annotations], default=0) + 1)
    coco.dataset = {"images": [{"id": i} for i in range(1, len(pictures) + 1)],
                    "categories": [{"id": c} for c in classes], "annotations": annotations}
    coco.createIndex()
    return coco


def figures_of(pictures):
    truth, found = [], []
    for i, picture in enumerate(pictures, 1):
        for row in picture["truth"]:
            b = xywh(row)
            truth.append({"id": len(truth) + 1, "image_id": i, "category_id": row[0], "bbox": b, "iscrowd": int(row[5]),
                          "area": row[6] if row[6] >= 0 else b[2] * b[3]})
        for row in picture["found"]:
            b = xywh(row)
            found.append({"id": len(found) + 1, "image_id": i, "category_id": row[0], "bbox": b, "area": b[2] * b[3],
                          "score": float("nan") if row[5] is None else row[5]})
    with contextlib.redirect_stdout(io.StringIO()):
        rule = COCOeval(coco_of(pictures, truth), coco_of(pictures, found), "bbox")
        rule.evaluate()
        rule.accumulate()
        rule.summarize()
    return [float(v) for v in rule.stats]


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser()
    parser.add_argument("--sets", type=int, default=16)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", default=os.path.join(here, "coco", "cases.json"))
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    cases = []
    for number in range(options.sets):
        pictures = make_set(rng, number)
        cases.append({"figures": figures_of(pictures), "pictures": pictures})
    with open(options.out, "w") as file:
        file.write("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n")


if __name__ == "__main__":
    main()
