"""One torch thread a worker: two pytest workers share two cores."""

import os

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import torch

torch.set_num_threads(1)
