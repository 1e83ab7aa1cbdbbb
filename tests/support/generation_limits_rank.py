"""One rank that sees labels of its own: `torchrun ... -m tests.support.generation_limits_rank CHECKPOINT FOLDER`."""

import json
import sys
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs

from data.batches.collation import collate
from data.batches.labels import LabelEncoder
from data.utterance import Utterance
from modeling.checkpoint_files import Checkpoint
from modeling.checkpoints import open_model
from trainer.evaluation.decoding_limits import DecodingLimits
from trainer.record.checkpoints import RunState
from trainer.record.journal import Journal


def main(checkpoint: str, folder: Path) -> None:
    accelerator = Accelerator(cpu=True, kwargs_handlers=[InitProcessGroupKwargs(backend="gloo")])
    rank = accelerator.process_index
    model, processor = open_model(checkpoint), Checkpoint(checkpoint).processor
    labels = LabelEncoder(processor.tokenizer, True, "az")
    state = RunState()
    journal = Journal(folder, is_main=rank == 0, rank=rank, total_steps=1, from_step=0, record_batches=False)
    limits = DecodingLimits(accelerator, model, processor, state, journal)
    text = ("b", "@")[rank]
    limits.see(
        [collate([Utterance("one", np.zeros(160, np.float32), text)], labels.pad([labels.encode(text, None)])), None]
    )
    limits.lift()
    limits.lift()
    generation = model.generation_config
    found = {key: getattr(generation, key) for key in ("suppress_tokens", "begin_suppress_tokens")}
    (folder / f"rank{rank}.json").write_text(json.dumps(found | {"lifted": state.lifted_limits}))
    journal.close()
    accelerator.end_training()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
