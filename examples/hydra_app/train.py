"""Parts of the library in a Hydra app of one's own, in the layout of the Lightning-Hydra template.

python train.py
python train.py model/net/attention=mla model.net.attention.kv_rank=16
python train.py model/optimizer=lion data/tokenizer=char trainer.max_steps=100
python train.py --multirun model/net/attention=gqa,small_mla,delta_net seed=1,2

This file knows no part: the configs choose them. ``--cfg job`` prints the whole config, ``--info defaults`` where it comes from.
"""

from __future__ import annotations

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig

import components


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
@components.hydra.checked  # mistakes in the config are one line, and are found before torch is imported
def main(config: DictConfig) -> float:
    from lightning import seed_everything  # here, so that --help and mistakes take half a second

    seed_everything(config.seed, verbose=False)
    data = instantiate(config.data)
    # the size of the vocabulary is known when the tokenizer has been trained: `???` in the config until here
    model = instantiate(config.model, net={"vocab_size": data.vocab_size})
    callbacks = [instantiate(c) for c in config.callbacks.values()]
    trainer = instantiate(config.trainer, logger=instantiate(config.logger), callbacks=callbacks)
    trainer.fit(model, data)
    loss = trainer.validate(model, data, verbose=False)[0]["val_loss"]
    print(f"{type(model.net).__name__} with {config.model.net.attention.name}: val_loss {loss:.3f}")
    return loss  # what a sweeper makes small


if __name__ == "__main__":
    main()
