"""What PyTorch, timm and torchvision call what has another name here, for the messages about what does not exist.

In: a setting or a choice that there is not. Out: the overrides that may be meant; nothing is replaced by them.
"""

import re

# The last part of a key, in lower case and without `_`. Settings that have the same name here in another section, such
# as optim.lr of training.lr, are found without a line
SETTINGS = {
    "allowtf32": "training.tf32",
    "amp": "training.precision=bfloat16",
    "augmentation": "transforms=NAME",
    "clipgrad": "optim.clip_norm",
    "clipgradnorm": "optim.clip_norm",
    "cudnnbenchmark": "training.autotune",
    "cutmix": "transforms=cutmix",
    "droppath": "model.settings.drop_path_rate of timm's networks",
    "droprate": "model.dropout, or model.settings.drop_rate of timm's networks",
    "earlystopping": "training.patience_epochs",
    "ema": "training.averaging=ema",
    "emadecay": "training.averaging=ema training.averaging_epochs",
    "gradclip": "optim.clip_norm",
    "gradientclipping": "optim.clip_norm",
    "gradientclipval": "optim.clip_norm",
    "imgsize": "data.image_size",
    "labelsmoothing": "loss.smoothing",
    "learningrate": "optim.lr",
    "lrscheduler": "schedule=NAME",
    "maxepochs": "training.epochs",
    "mixup": "transforms=mixup",
    "numclasses": "data.classes",
    "numepochs": "training.epochs",
    "numworkers": "loader.threads of decoding, or cluster.workers that train",
    "optimiser": "optim=NAME",
    "optimizer": "optim=NAME",
    "patience": "training.patience_epochs",
    "pretrained": "model.init=timm:pretrained or model.init=torchvision:WEIGHTS",
    "randaug": "transforms=rand",
    "randaugment": "transforms=rand",
    "randomerasing": "transforms.erase_probability",
    "reprob": "transforms.erase_probability",
    "scheduler": "schedule=NAME",
    "stochasticdepth": "model.settings.drop_path_rate of timm's networks",
    "swa": "training.averaging=polyak",
    "torchcompile": "training.compile",
    "trivialaugment": "transforms=trivial",
    "warmup": "schedule.warmup_epochs",
    "warmupsteps": "schedule.warmup_epochs",
    "wd": "optim.weight_decay",
}

# (section, name) of what is chosen by a name, the name in lower case and without `_` and `-`
CHOICES = {
    ("loss", "binarycrossentropy"): "loss=bce",
    ("loss", "ce"): "loss=cross_entropy",
    ("loss", "labelsmoothingcrossentropy"): "loss=label_smoothing",
    ("loss", "smoothing"): "loss=label_smoothing",
    ("optim", "adam"): "optim=adamw optim.weight_decay=0, which is Adam",
    ("optim", "momentum"): "optim=sgd",
    ("optim", "rmsproptf"): "optim=rmsprop",
    ("schedule", "cosineannealing"): "schedule=cosine",
    ("schedule", "cosineannealinglr"): "schedule=cosine",
    ("schedule", "cosineannealingwarmrestarts"): "schedule=cosine_restarts",
    ("schedule", "exponential"): "schedule=inception, which is schedule.name=step_decay",
    ("schedule", "onecyclelr"): "schedule=one_cycle",
    ("schedule", "onecycle"): "schedule=one_cycle",
    ("schedule", "poly"): "schedule=polynomial",
    ("schedule", "step"): "schedule=googlenet, which is schedule.name=step_decay",
    ("schedule", "steplr"): "schedule=googlenet, which is schedule.name=step_decay",
    ("training.averaging", "swa"): "training.averaging=polyak",
    ("transforms", "randaug"): "transforms=rand",
    ("transforms", "randaugment"): "transforms=rand",
    ("transforms", "randomerasing"): "transforms.erase_probability",
    ("transforms", "trivialaugment"): "transforms=trivial",
    ("transforms", "trivialaugmentwide"): "transforms=trivial",
}


def of_setting(key: str) -> str | None:
    """The overrides that a key may mean which does not exist."""
    return SETTINGS.get(_plain(key.rpartition(".")[2]))


def of_choice(section: str, name: str) -> str | None:
    """The overrides that may be meant by a choice that there is not; a section goes with or without `.name`."""
    return CHOICES.get((section.removesuffix(".name"), _plain(name)))


def _plain(word: str) -> str:
    return re.sub(r"[\W_]", "", word.lower())
