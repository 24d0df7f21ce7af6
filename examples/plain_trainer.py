"""A task and its data in a Lightning Trainer of your own: fit, validate, test, predict, callbacks, and the checkpoint back again.

    pip install lightning-components
    python plain_trainer.py

It takes a few seconds on a CPU, and leaves its files in ./plain_trainer.
"""

from lightning import Trainer, seed_everything
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

import components


def main() -> None:
    seed_everything(1)
    # any recipe, with any of its parts swapped; nothing is trained yet
    recipe = components.load_recipe("llama_tiny", ["model/attention=mla", "optimizer.lr=0.003"])
    task, data = recipe.task, recipe.data  # a LightningModule and a LightningDataModule

    best = ModelCheckpoint("plain_trainer", monitor="val_loss", filename="best")
    trainer = Trainer(
        max_steps=40,  # the schedule ends where the trainer does
        val_check_interval=20,
        limit_val_batches=4,
        log_every_n_steps=10,
        gradient_clip_val=1.0,
        logger=CSVLogger("plain_trainer"),
        callbacks=[
            best,
            EarlyStopping("val_loss", patience=3),
            LearningRateMonitor(),  # Lightning's
            components.callbacks.Samples("plain_trainer/samples.txt"),  # and ours, side by side
        ],
        accelerator="cpu",
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(task, data)
    trainer.validate(task, data, verbose=False)
    (tested,) = trainer.test(task, data, verbose=False)
    print(f"test loss {tested['test_loss']:.3f}, {tested['test_bits_per_byte']:.2f} bits per byte")

    # the file holds weights, tokenizer and config: nothing else is needed
    again = components.Task.load_from_checkpoint(best.best_model_path)
    logits = Trainer(accelerator="cpu", logger=False, limit_predict_batches=2, enable_progress_bar=False).predict(again, data)
    print("predicted:", [tuple(batch.shape) for batch in logits], "(rows, tokens, vocabulary)")

    # and the whole library reads it
    print(components.load(best.best_model_path).generate("def ", max_new_tokens=20))


if __name__ == "__main__":
    main()
