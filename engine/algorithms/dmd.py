"""DMD2: a student of a few steps whose clips come to have the teacher's distribution.

source      Improved Distribution Matching Distillation, arXiv:2405.14867, sec. 4.1 (no regression loss), 4.2 (several
            updates of the critic for one of the student), 4.5 (student's inputs are its own); the gradient and its
            normaliser: DMD, arXiv:2311.18828, Eq. 7 and 8. Without the GAN loss of DMD2.

    g = (x0_critic - x0_teacher) / mean |x - x0_teacher|      at x, noised to a random level
    student's loss = 1/2 mean (x - sg(x - g))^2               whose gradient is g / (number of elements)
    critic's loss  = mean |output - target|^2                 on the student's clips, the loss of pre-training

The critic estimates the distribution of the student's clips. x0_teacher has guidance, x0_critic none.
"""

from jaxtyping import Float
from torch import Tensor

Latents = Float[Tensor, "B *dims"]
PerClip = Float[Tensor, "B"]
LEAST = 1e-5


def distribution_gradient(sample: Latents, critic: Latents, teacher: Latents) -> Latents:
    """Return g `float32[B,...]`, each clip scaled by its mean distance from the teacher's estimate."""
    distance = (sample.float() - teacher.float()).abs().flatten(1).mean(1).clamp(min=LEAST)
    return (critic.float() - teacher.float()) / distance.reshape(-1, *[1] * (sample.ndim - 1))


def student_loss(sample: Latents, gradient: Latents) -> PerClip:
    """Return each clip's loss; its value is half the mean square of the gradient."""
    target = (sample.float() - gradient.float()).detach()
    return 0.5 * (sample.float() - target).square().flatten(1).mean(1)
