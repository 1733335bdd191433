"""What an exported graph takes and gives, in words for programs that are not reid.

Letters: B batch, D width, H W pixels.
"""

from reid.domain.values.encoders import EncoderGeometry
from reid.domain.values.json_values import JsonValue

NO_CAMERA = -1  # value of the graph's `camids` input for an image without a camera
DESCRIPTOR, EMBEDDING, PENULTIMATE = "descriptor", "embedding", "penultimate"


def output_widths(geometry: EncoderGeometry) -> dict[str, int]:
    """Return the outputs' widths by name, in the traced program's order.

    `descriptor` is `embedding`, final and projected features, with rows of unit L2 norm.
    """
    widths = {DESCRIPTOR: geometry.embedding_width, EMBEDDING: geometry.embedding_width}
    if geometry.penultimate_width:
        widths[PENULTIMATE] = geometry.penultimate_width
    return widths


def input_shapes(geometry: EncoderGeometry) -> dict[str, list[int]]:
    """Return the inputs' shapes by name, in the traced program's order; -1 for B."""
    size = geometry.image_size
    shapes = {"images": [-1, 3, size.height, size.width]}
    return shapes | ({"camids": [-1]} if geometry.num_cameras else {})


def contract_of(geometry: EncoderGeometry) -> dict[str, JsonValue]:
    """Describe inputs and outputs for the folder's JSON."""
    inputs: dict[str, JsonValue] = {
        "images": {
            "shape": ["B", 3, geometry.image_size.height, geometry.image_size.width],
            "type": "float32",
            "channels": "rgb",
            "range": 1,
            "mean": [*geometry.pixel_mean],
            "std": [*geometry.pixel_std],
            "resampling": geometry.resampling.value,
            "height": geometry.image_size.height,
            "width": geometry.image_size.width,
        }
    }
    if geometry.num_cameras:
        inputs["camids"] = {
            "shape": ["B"],
            "type": "int64",
            "cameras": geometry.num_cameras,
            "no_camera": NO_CAMERA,
        }
    return {
        "inputs": inputs,
        "outputs": {
            name: {
                "shape": ["B", width],
                "type": "float32",
                "width": width,
                "is_normalised": name == DESCRIPTOR,
            }
            for name, width in output_widths(geometry).items()
        },
    }
