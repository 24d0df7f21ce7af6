"""Our tasks and data by LightningCLI: every flag of the Trainer on the command line, and the recipe beside them.

    pip install lightning-components 'jsonargparse[signatures]'
    python lightning_cli.py fit --model.recipe llama_tiny --trainer.max_steps 20 --trainer.accelerator cpu
    python lightning_cli.py fit --model.overrides '[model/attention=mla, optimizer.lr=0.003]' --trainer.max_steps 20
    python lightning_cli.py fit --print_config > run.yaml && python lightning_cli.py fit --config run.yaml
    python lightning_cli.py test --ckpt_path lightning_logs/version_0/checkpoints/*.ckpt

`--model` says what is trained, in the words of the command (`components show llama_tiny`); `--data` follows it, since a tokenizer belongs to both.
"""

from functools import cache

from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

import components


@cache  # the model and the data are of one recipe, which is prepared once
def recipe_of(recipe: str, overrides: tuple[str, ...]):
    return components.load_recipe(recipe, overrides)


def task(recipe: str = "llama_tiny", overrides: list[str] = []) -> LightningModule:  # noqa: B006  jsonargparse reads the default
    """What is trained.

    Args:
        recipe: one of `components list recipes`, or a file.
        overrides: what differs from it, such as `model/attention=mla`.
    """
    return recipe_of(recipe, tuple(overrides)).task


def data(recipe: str = "llama_tiny", overrides: list[str] = []) -> LightningDataModule:  # noqa: B006
    """The data of the same recipe.

    Args:
        recipe: follows the model's.
        overrides: follow the model's.
    """
    return recipe_of(recipe, tuple(overrides)).data


class CLI(LightningCLI):
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.link_arguments("model.recipe", "data.recipe")
        parser.link_arguments("model.overrides", "data.overrides")


if __name__ == "__main__":
    # the task brings its optimizer and schedule
    CLI(task, data, auto_configure_optimizers=False, seed_everything_default=1)
