"""A loop of your own with Lightning Fabric: our model, our loss and our data, every line of the loop yours.

    pip install lightning-components
    python fabric.py

Fabric takes care of devices and precision: `Fabric(accelerator="gpu", devices=2, precision="bf16-mixed")` with `fabric.launch()` is all that
changes for two GPUs.
"""

import torch
from lightning import Fabric

import components

STEPS = 40


def main() -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    fabric.launch()
    fabric.seed_everything(1)

    recipe = components.load_recipe("llama_tiny", ["optimizer.lr=0.003"])
    task, data = recipe.task, recipe.data
    task.total_steps = STEPS  # no trainer says how long the run is, and the schedule must know
    made = task.configure_optimizers()
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]

    task, optimizer = fabric.setup(task, optimizer)
    task.mark_forward_method("training_step")
    data.place_in_loop(rank=fabric.global_rank, ranks=fabric.world_size)
    # our loaders have been divided among the ranks already
    loader = fabric.setup_dataloaders(data.train_dataloader(), use_distributed_sampler=False)

    for step, batch in zip(range(1, STEPS + 1), loader):
        loss = task.training_step(batch, step)  # the mean over all targets of the step, on however many ranks
        fabric.backward(loss)
        fabric.clip_gradients(task, optimizer, max_norm=1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        if step % 10 == 0:
            fabric.print(f"step {step}  loss {loss.item():.3f}  lr {schedule.get_last_lr()[0]:.2e}")

    # a loop of your own over the model alone: ids in, logits out
    task.eval()
    with torch.no_grad():
        held_out = next(iter(fabric.setup_dataloaders(data.val_dataloader(), use_distributed_sampler=False)))
        logits = recipe.model(held_out.batch.ids)
    fabric.print("logits of a held-out batch:", tuple(logits.shape))


if __name__ == "__main__":
    main()
