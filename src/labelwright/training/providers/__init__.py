"""Label providers: where the labels of a small training set come from, and what they weigh on disk.

A provider serves each batch: it makes (or replays) the random view and mixture of the batch and says what the student is to
learn from the result. All have one interface (:class:`LabelProvider`), one set of losses (:func:`student_losses`), know their
bytes on disk exactly and can be saved and loaded without pickle.

| provider | labels are | stored |
|---|---|---|
| `HardLabels` | one class an example | a class an example |
| `StaticLogits` | logits of the clean example, mixed as the images are | C (or top k) numbers an example |
| `RecordedLogits` | logits of every augmented batch, replayed | C (or top k) numbers an example and epoch, and the draws |
| `TwoDistance` | two losses of the teacher on every augmented batch, replayed | 2 numbers an example and epoch, and the draws |
| `OnlineTeacher` | what networks say at the time | the networks |
| `Projector` | what a public encoder with a low-rank adapter says at the time | the adapter |

::

    def step(net, batch):
        served = provider.serve(batch, augmentation)
        return Step(student_losses(net(served.inputs), served, temperature=4).mean())

    run = train(net, step, data, fit=provider.checked(fit), order=provider.order, seed=0)
"""

from labelwright.training.providers.base import LabelProvider, Served, load_provider
from labelwright.training.providers.checking import TeacherCheck, check_teacher
from labelwright.training.providers.losses import distances, reconstructed, student_losses
from labelwright.training.providers.projector import Projector
from labelwright.training.providers.recording import record, record_bytes
from labelwright.training.providers.records import RecordedLogits, TwoDistance
from labelwright.training.providers.stored import HardLabels, StaticLogits
from labelwright.training.providers.teachers import OnlineTeacher

__all__ = [
    "HardLabels",
    "LabelProvider",
    "OnlineTeacher",
    "Projector",
    "RecordedLogits",
    "Served",
    "StaticLogits",
    "TeacherCheck",
    "TwoDistance",
    "check_teacher",
    "distances",
    "load_provider",
    "reconstructed",
    "record",
    "record_bytes",
    "student_losses",
]
