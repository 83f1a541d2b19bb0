"""Your own method in one file. From the command line:

    advdistill train digits.rslad --method examples/own_method.py:HardLabelRSLAD --teacher runs/teacher
"""

from dataclasses import dataclass

import advdistill as ad
from advdistill.losses import cross_entropy, kl


@dataclass
class HardLabelRSLAD(ad.Method):
    """RSLAD with an additional loss on the label.

        x'    = argmax_{|x' - x| <= eps}  KL(T(x) || S(x'))
        min_S   KL(T(x) || S(x')) + label_weight CE(S(x), y)
    """

    label_weight: float = 0.5

    def inner(self, batch):
        soft = batch.teacher(batch.x)
        return lambda x_adv: kl(soft, batch.student(x_adv))

    def outer(self, batch):
        return {
            "adv": kl(batch.teacher(batch.x), batch.student(batch.x_adv)),
            "label": self.label_weight * cross_entropy(batch.student(batch.x), batch.targets),
        }


if __name__ == "__main__":
    few = {"epochs": 2}  # enough to see it run
    teacher = ad.distill(ad.recipes.load("digits.teacher").replace(**few), "runs/teacher")
    recipe = ad.recipes.load("digits.rslad").replace(method=HardLabelRSLAD(0.3), teacher=str(teacher), **few)
    run = ad.distill(recipe, "runs/hard-label-rslad")
    result = ad.evaluate(ad.models.load(str(run)), ad.data.load("digits", "test"), ad.Linf(0.2), suite="quick")
    for measured in result.measurements:
        print(f"{measured.attack}: {measured.accuracy:.1%} of {measured.n} images")
