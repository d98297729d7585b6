"""Writes a small SynthStrip network with random weights, and what torch answers to an image.

usage: strip.py OUTPUT_FOLDER
  synthstrip.pt   {"model_state_dict": ...} as FreeSurfer's training saves it
  image.npy       float32 (z, y, x), from 0 to 1
  distance.npy    float32 (z, y, x)
The network is that of Hoopes et al., NeuroImage 260:119474 (2022), with fewer levels and features; the names of its
weights are those that `mri_synthstrip` loads.
"""

import pathlib
import sys

import numpy as np
import torch
from torch import nn

# Features of each level on the way down; the way up has them in reverse, after the deepest's.
LEVELS = [3, 5, 6]
DEEPEST = 6
SHAPE = (16, 24, 40)


class Block(nn.Module):
    def __init__(self, inputs, outputs, rectified=True):
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, 3, padding=1)
        self.rectified = rectified

    def forward(self, image):
        image = self.conv(image)
        return nn.functional.leaky_relu(image, 0.2) if self.rectified else image


def pair(inputs, outputs):
    return nn.ModuleList([Block(inputs, outputs), Block(outputs, outputs)])


class Strip(nn.Module):
    def __init__(self):
        super().__init__()
        ups = [DEEPEST, *LEVELS[:0:-1]]
        self.encoder = nn.ModuleList(pair(a, b) for a, b in zip([1, *LEVELS[:-1]], LEVELS, strict=True))
        inputs = [LEVELS[-1], *(up + skip for up, skip in zip(ups, LEVELS[::-1], strict=True))]
        self.decoder = nn.ModuleList(pair(a, b) for a, b in zip(inputs, ups, strict=False))
        self.remaining = nn.ModuleList(
            [Block(inputs[-1], LEVELS[0]), Block(LEVELS[0], LEVELS[0]), Block(LEVELS[0], 1, rectified=False)]
        )

    def forward(self, image):
        skips = []
        for level in self.encoder:
            for block in level:
                image = block(image)
            skips.append(image)
            image = nn.functional.max_pool3d(image, 2)
        for level in self.decoder:
            for block in level:
                image = block(image)
            image = torch.cat([nn.functional.interpolate(image, scale_factor=2, mode="nearest"), skips.pop()], dim=1)
        for block in self.remaining:
            image = block(image)
        return image


def main():
    output = pathlib.Path(sys.argv[1])
    output.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(7)
    network = Strip().eval()
    image = torch.rand(1, 1, *SHAPE)
    with torch.no_grad():
        distance = network(image)
    torch.save({"model_state_dict": network.state_dict()}, output / "synthstrip.pt")
    np.save(output / "image.npy", image[0, 0].numpy())
    np.save(output / "distance.npy", distance[0, 0].numpy())


if __name__ == "__main__":
    main()
