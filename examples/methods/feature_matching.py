"""Feature matching through a connector trained with the student, as a term: --method rslad+FILE:FeatureMatching"""

from dataclasses import dataclass

from torch import nn

import advdistill as ad


@dataclass
class FeatureMatching(ad.Term):
    """min_S,c  weight |c(f_S(x')) - f_T(x')|^2 / d;  f is a layer's output, d its size, c a linear map of channels."""

    weight: float = 1.0
    student_layer: str = "bn3"
    teacher_layer: str = "bn3"

    def layers(self):
        return {"student": [self.student_layer], "robust": [self.teacher_layer]}

    def maps(self, batch, x):
        student = batch.features("student", x, [self.student_layer])[self.student_layer]
        return student, batch.features("robust", x, [self.teacher_layer])[self.teacher_layer]

    def modules(self, batch):
        student, teacher = self.maps(batch, batch.x)
        sizes = student.shape[1], teacher.shape[1]
        return {"connector": nn.Conv2d(*sizes, kernel_size=1) if student.ndim == 4 else nn.Linear(*sizes)}

    def outer(self, batch):
        student, teacher = self.maps(batch, batch.x_adv)
        difference = batch.modules["connector"](student) - teacher.detach()
        return {"features": self.weight * difference.square().flatten(1).mean(1)}
