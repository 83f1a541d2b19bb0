"""CIFAR-100: 32 x 32 colour images of a hundred (fine) classes, from the official binary archive.

Reference: Krizhevsky, Learning Multiple Layers of Features from Tiny Images. 2009.
"""

from functools import partial

from . import cifar
from .dataset import Dataset
from .download import Remote
from .release import Release

RELEASE = Release(
    name="cifar100",
    files={"train": ("train.bin",), "test": ("test.bin",)},
    inner="cifar-100-binary",
    remote=Remote(  # official md5: 03b5dce01913d631647c71ecec9e9cb8
        url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        size=168_513_733,
        sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    ),
)

_CLASSES = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal
shark shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank
telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
"""

CIFAR100 = Dataset(
    name="cifar100",
    classes=tuple(_CLASSES.split()),
    shape=(3, 32, 32),
    sizes={"train": 50_000, "test": 10_000},
    source="www.cs.toronto.edu/~kriz/cifar.html",
    how="fetched on first use (161 MB), or give a folder with cifar-100-binary.tar.gz",
    read=partial(cifar.read, RELEASE, label_bytes=2),
)
