"""The parts of the self-test, in the order of their importance: what is wrong is known before what is slow.

Seconds are estimates: on one H100 with sixteen cores, where nothing has run yet, and on two cores of a CPU.
"""

from collections.abc import Callable

from platform.config.training import CUDA_GRAPHS, DEFAULT_MODE, NOT_COMPILED
from platform.gpu_check.budget import Part
from platform.gpu_check.checks.compiled import compiled
from platform.gpu_check.checks.decoding import decoding
from platform.gpu_check.checks.evaluation import evaluation
from platform.gpu_check.checks.feed import feed
from platform.gpu_check.checks.fused import fused
from platform.gpu_check.checks.networks import inputs, low_precision, networks, optimisers
from platform.gpu_check.checks.replicas import replicas
from platform.gpu_check.checks.resume import resume
from platform.gpu_check.checks.waiting import waiting
from platform.gpu_check.context import Context
from platform.gpu_check.measures import fused as measured_fused
from platform.gpu_check.measures.loader import device_decoding, loader, loop
from platform.gpu_check.measures.roofline import roofline
from platform.gpu_check.measures.step import measured
from platform.gpu_check.precision import without_tf32
from platform.gpu_check.results import Results

Run = Callable[[Context, Results], None]


def _exact(run: Run) -> Run:
    """A check in float32 as it is written."""

    def check(context: Context, results: Results) -> None:
        with without_tf32():
            run(context, results)

    return check


PARTS = (
    Part("networks", 40, 90, _exact(networks)),
    Part("optimisers", 10, 20, _exact(optimisers)),
    Part("inputs", 10, 15, _exact(inputs)),
    Part("bfloat16", 5, 20, _exact(low_precision)),
    Part("evaluation", 10, 15, _exact(evaluation)),
    Part("resume", 10, 10, _exact(resume)),
    Part("replicas", 50, 40, _exact(replicas)),
    Part("fused", 5, 5, _exact(fused)),
    Part("feed", 5, 3, feed),
    Part("waiting", 15, 1, waiting),
    Part("decoding", 5, 3, decoding),
    Part("compiled", 70, 1, _exact(compiled)),
    Part("roofline", 10, 3, roofline),
    Part("googlenet", 12, 5, measured("googlenet", NOT_COMPILED)),
    Part("googlenet compiled", 60, 1, measured("googlenet", DEFAULT_MODE)),
    Part("googlenet graphs", 40, 1, measured("googlenet", CUDA_GRAPHS)),
    Part("loader", 15, 5, loader),
    Part("loop", 40, 15, loop),
    Part("resnet50", 12, 8, measured("resnet50", NOT_COMPILED)),
    Part("inception_v3", 15, 20, measured("inception_v3", NOT_COMPILED)),
    Part("resnet50 compiled", 50, 1, measured("resnet50", DEFAULT_MODE)),
    Part("inception_v3 compiled", 90, 1, measured("inception_v3", DEFAULT_MODE)),
    Part("fused members", 15, 10, measured_fused.fused),
    Part("device decoding", 5, 1, device_decoding),
    Part("resnet50 graphs", 40, 1, measured("resnet50", CUDA_GRAPHS)),
    Part("inception_v3 graphs", 60, 1, measured("inception_v3", CUDA_GRAPHS)),
    Part("googlenet autotuned", 180, 1, measured("googlenet", "max-autotune-no-cudagraphs")),
)
