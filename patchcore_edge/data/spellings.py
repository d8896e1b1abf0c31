"""Words that anomalib's classes take and ours have no use for: taken, and said to be of no effect, or refused.

So code that is written for it runs here; what would have changed a result there and does not here is never silent.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from patchcore_edge_runtime.errors import ConfigError

__all__ = ["OF_DATA", "OF_ENGINE", "refuse_or_say"]

_log = logging.getLogger(__name__)

_BATCH = "Engine(batch_size=...) says how many images are taken at a time"
_EPOCHS = "nothing is trained in epochs here"
_AUGMENT = "give Patchcore(augment=AugmentOptions(...)), which augments what the memory bank is from"
_VALIDATION = (
    "thresholds that the test images set promise nothing; give val_split_mode='from_train' with a val_split_ratio, "
    "or a folder of validation images"
)

OF_DATA = {
    "train_batch_size": _BATCH,
    "eval_batch_size": _BATCH,
    "num_workers": "images are decoded ahead by threads",
    "extensions": "pictures are known by the usual endings",
}
"""What datamodules take there, and why it has no effect."""

OF_ENGINE = {
    "callbacks": "there is no trainer that would call them",
    "logger": "what happens is logged by the standard library",
    "default_root_dir": "pictures are written where output=... says, and nothing else is",
    "max_epochs": _EPOCHS,
    "min_epochs": _EPOCHS,
    "max_steps": _EPOCHS,
    "check_val_every_n_epoch": _EPOCHS,
    "num_sanity_val_steps": _EPOCHS,
    "log_every_n_steps": _EPOCHS,
    "precision": "features are of 32 bits",
    "deterministic": "everything is deterministic under the model's seed",
    "benchmark": "cuDNN is left as it is",
    "inference_mode": "no gradient is kept in any case",
    "use_distributed_sampler": "one process works on one device",
    "enable_checkpointing": "nothing is written unless it is asked for",
    "enable_model_summary": "none is printed",
}
"""What the engine takes there, and why it has no effect."""

_REFUSED = {
    "augmentations": _AUGMENT,
    "train_augmentations": _AUGMENT,
    "val_augmentations": _AUGMENT,
    "test_augmentations": _AUGMENT,
    "test_split_ratio": "give normal_split_ratio, or a folder of test images",
    "limit_train_batches": "give a DataModule with the images that are meant",
    "limit_val_batches": "give a DataModule with the images that are meant",
    "limit_test_batches": "give a DataModule with the images that are meant",
    "limit_predict_batches": "give a dataset with the images that are meant",
    "fast_dev_run": "give a DataModule of a few images",
    "strategy": "for several processes there is `torchrun -m patchcore_edge train`",
    "num_nodes": "for several machines there is `torchrun -m patchcore_edge train`",
}
"""What would change a result, and what to do instead."""
_MODES = {
    "val_split_mode": (("none", "from_train"), _VALIDATION),
    "test_split_mode": (("from_dir",), "test images are those of the folders that are named"),
}
"""Words with values of which some say what is done here anyway; of the others, what to do."""


def refuse_or_say(who: str, given: Mapping[str, Any], unused: Mapping[str, str]) -> None:
    """Refuse what would change a result; log what has no effect, and why.

    Args:
        who: takes the words, for errors.
        given: words and their values; None is as if it were not given.
        unused: words that have no effect, and why.

    Raises:
        ConfigError: a word would change what comes out.
        TypeError: a word is neither ours nor anomalib's.
    """
    known = unused.keys() | _REFUSED.keys() | _MODES.keys()
    for word in given:
        if word not in known:
            raise TypeError(f"{who}() got an unexpected keyword argument {word!r}")
    for word, value in given.items():
        modes, instead = _MODES.get(word, ((), _REFUSED.get(word, "")))
        # Of an enumeration the value: anomalib's modes are texts as well.
        if value is None or str(getattr(value, "value", value)).lower() in modes:
            continue
        if instead:
            raise ConfigError(f"{who} takes no {word}={value!r}: {instead}.")
        _log.warning("%s: %s has no effect: %s.", who, word, unused[word])
