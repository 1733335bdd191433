"""Describe images without reid: `python describe.py FOLDER IMAGE...`, FOLDER by `reid export`."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

folder = Path(sys.argv[1])
wanted = json.loads((folder / "encoder.json").read_text())["contract"]["inputs"]["images"]
session = onnxruntime.InferenceSession(folder / "encoder.onnx")
for path in sys.argv[2:]:
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    kernel = Image.Resampling[wanted["resampling"].upper()]
    resized = np.asarray(image.resize((wanted["width"], wanted["height"]), kernel))  # (H, W, 3)
    pixels = (resized / 255 - wanted["mean"]) / wanted["std"]
    batch = pixels.astype(np.float32).transpose(2, 0, 1)[None]  # (1, 3, H, W)
    (descriptors,) = session.run(["descriptor"], {"images": batch})  # (1, D), of unit norm
    print(path, *descriptors[0])
