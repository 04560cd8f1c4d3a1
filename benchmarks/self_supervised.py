"""A ResNet-18 trained on pictures without labels by DenseCL: the control of frozen diffusion features.

    pip install lightly                # not needed by anything else here
    python benchmarks/self_supervised.py data/camvid/images/train --size 160 --amp --out work_dirs/densecl.pth
    python benchmarks/backbones.py --world camvid --pretrained work_dirs/densecl.pth --arms 'resnet18, pretrained'

DenseCL (Wang et al., CVPR 2021) compares the views of a picture as a whole and place by place; loss, heads and views
are lightly's. The training ends after so many minutes of a processor, which is how it is made equal to the diffusion
model's; a killed one goes on by the same command. What is written are torchvision's names, which MMSegmentation reads.
"""

import argparse
import copy
import io
import math
import os.path as osp
import time
from collections.abc import Iterator

import torch
from lightly.data import LightlyDataset
from lightly.loss import NTXentLoss
from lightly.models import utils
from lightly.models.modules import DenseCLProjectionHead
from lightly.transforms import DenseCLTransform
from lightly.utils.scheduler import cosine_schedule
from torch import Tensor, nn
from torchvision.models import resnet18

from diff2in1_mm.utils.atomic_files import write_atomic

WIDTH = 512  # channels of the last map


class Encoder(nn.Module):
    """ResNet-18 with DenseCL's two heads: of the picture, and of each place of the last map."""

    def __init__(self) -> None:
        super().__init__()
        self.body = resnet18(weights=None)
        self.body.fc = nn.Identity()
        self.whole = DenseCLProjectionHead(WIDTH, WIDTH, 128)
        self.places = DenseCLProjectionHead(WIDTH, WIDTH, 128)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of images (B, 3, H, W) places of the map (B, N, 512), their projections (B, N, 128), and of all (B, 128)."""
        body = self.body
        x = body.maxpool(body.relu(body.bn1(body.conv1(images))))
        x = body.layer4(body.layer3(body.layer2(body.layer1(x)))).flatten(2).transpose(1, 2)
        return x, self.places(x.flatten(0, 1)).unflatten(0, x.shape[:2]), self.whole(x.mean(1))


class DenseCL(nn.Module):
    """The loss of two views: a trained encoder's against a moving average's, and negatives of former batches."""

    def __init__(self, bank: int, pictures: int, amp: bool) -> None:
        super().__init__()
        self.amp = amp
        self.student = Encoder()
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        # a bank of more would have a picture's own former views among its negatives
        self.of_wholes = NTXentLoss(0.2, memory_bank_size=(min(bank, pictures // 2), 128))
        self.of_places = NTXentLoss(0.2, memory_bank_size=(bank, 128))

    def forward(self, first: Tensor, second: Tensor, momentum: float) -> Tensor:
        """Half of it compares pictures, half each place with the place of the other view that is most like it."""
        for part in ('body', 'whole', 'places'):
            utils.update_momentum(getattr(self.student, part), getattr(self.teacher, part), momentum)
        with torch.autocast(first.device.type, torch.bfloat16, enabled=self.amp):
            maps, places, whole = (x.float() for x in self.student(first))
            with torch.no_grad():
                other_maps, other_places, other_whole = (x.float() for x in self.teacher(second))
        with torch.no_grad():
            other_places = utils.select_most_similar(maps, other_maps, other_places)
        dense = self.of_places(places.flatten(0, 1), other_places.flatten(0, 1))
        return (self.of_wholes(whole, other_whole) + dense) / 2


def pictures(args: argparse.Namespace) -> LightlyDataset:
    """Two views of each picture, in [-1, 1], as configs of this package scale images."""
    views = DenseCLTransform(args.size, normalize=dict(mean=[0.5] * 3, std=[0.5] * 3))
    data = LightlyDataset(args.images, transform=views)
    if len(data) < args.batch_size:
        raise SystemExit(f'{args.images} has {len(data)} pictures, which is no batch: give a smaller --batch-size')
    return data


def batches(data: LightlyDataset, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Two views of batches of pictures, for ever."""
    loader = torch.utils.data.DataLoader(data, size, shuffle=True, drop_last=True)
    while True:
        for views_of_batch, *_ in loader:
            yield tuple(views_of_batch)


def save(path: str, content: dict) -> None:
    """Write a checkpoint wholly or not at all."""
    file = io.BytesIO()
    torch.save(content, file)
    write_atomic(path, file.getvalue())


def train(args: argparse.Namespace) -> None:
    """Train until the minutes are over, with a state to go on from every five."""
    torch.manual_seed(args.seed)
    data = pictures(args)
    model = DenseCL(args.bank, len(data), args.amp).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.student.parameters(), args.lr, momentum=0.9, weight_decay=1e-4)
    used, step, kept = 0.0, 0, f'{args.out}.state'
    if osp.exists(kept):
        state = torch.load(kept, weights_only=True)
        model.load_state_dict(state['model'])
        optimizer.load_state_dict(state['optimizer'])
        used, step = state['used'], state['step']
    total, start, told = 60 * args.minutes, time.process_time() - used, used
    for first, second in batches(data, args.batch_size):
        share = min(used / total, 1.0)
        for group in optimizer.param_groups:
            group['lr'] = args.lr * (1 + math.cos(math.pi * share)) / 2
        first, second = (x.to(memory_format=torch.channels_last) for x in (first, second))
        loss = model(first, second, cosine_schedule(int(1000 * share), 1001, 0.99, 1.0))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        used, step = time.process_time() - start, step + 1
        if used - told > 300 or used >= total or step == 10:
            print(f'{used / 60:.1f} min, step {step}, loss {loss.item():.3f}', flush=True)
            told = used
            save(kept, dict(model=model.state_dict(), optimizer=optimizer.state_dict(), used=used, step=step))
        if used >= total:
            break
    save(args.out, dict(state_dict=model.student.body.state_dict()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('images', help='folder of pictures')
    parser.add_argument('--out', required=True, help='the checkpoint')
    parser.add_argument('--size', type=int, default=128, help='of the square views, pixels')
    parser.add_argument('--minutes', type=float, default=60, help='of a processor')
    parser.add_argument('--batch-size', type=int, default=32)
    parser.add_argument('--bank', type=int, default=4096, help='negatives that are kept')
    parser.add_argument('--lr', type=float, default=0.03)
    parser.add_argument('--amp', action='store_true', help='bfloat16 units, where a processor has them')
    parser.add_argument('--seed', type=int, default=0)
    train(parser.parse_args())


if __name__ == '__main__':
    main()
