"""Images that the device decodes, by nvImageCodec or by torchvision's nvJPEG: as those that Pillow decodes, to the
rounding."""

import io

import numpy as np
import torch
from PIL import Image

from platform.data.decode import Box, EncodedImage
from platform.data.deviceloader import DeviceDecoder
from platform.gpu_check.context import Context, installed
from platform.gpu_check.difference import Difference
from platform.gpu_check.results import NotHere, Results

GREY_LEVELS = 2.0  # mean difference of an image: other inverse cosine transforms, other upsampling of colours
DECODED = 16  # images


def decoding(context: Context, results: Results) -> None:
    """Decoded images, by nvImageCodec on the device, or by torchvision's nvJPEG where that is missing."""
    packed = context.shards(context.sizes.small_side)
    split = packed.index.split("train")
    encoded = [split.read(number).image for number in range(min(DECODED, split.samples))]
    whole = [np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(np.int16) for content in encoded]
    decoder, decoded = decoded_on(context, [bytes(content) for content in encoded])
    apart = max(float(np.abs(one.cpu().numpy() - other).mean()) for one, other in zip(decoded, whole, strict=True))
    results.compare("decoding", [Difference("grey levels", apart, GREY_LEVELS)], f"{decoder}, {len(whole)} images")


def decoded_on(context: Context, encoded: list[bytes]) -> tuple[str, list[torch.Tensor]]:
    """Who decodes on the device, and whole images: uint8 `[H, W, 3]` each.

    Raises:
        NotHere: nothing here decodes there.
    """
    if installed("nvidia.nvimgcodec"):
        images = [EncodedImage(content) for content in encoded]
        regions = [(image, Box(0, 0, image.width, image.height)) for image in images]
        found = []
        for pixels in DeviceDecoder(context.device).decode(regions):
            if not isinstance(pixels, torch.Tensor):
                raise pixels
            found.append(pixels)
        return "nvImageCodec", found
    context.require_gpu("Pillow decodes, and there is nothing to compare it with; install nvidia-nvimgcodec-cu13")
    from torchvision.io import ImageReadMode, decode_jpeg

    given = [torch.frombuffer(bytearray(content), dtype=torch.uint8) for content in encoded]
    try:
        decoded = decode_jpeg(given, mode=ImageReadMode.RGB, device=context.device)
    except RuntimeError as error:  # built without nvJPEG
        raise NotHere(f"torchvision's nvJPEG does not decode here ({error}); install nvidia-nvimgcodec-cu13") from None
    return "torchvision's nvJPEG", [image.permute(1, 2, 0) for image in decoded]
