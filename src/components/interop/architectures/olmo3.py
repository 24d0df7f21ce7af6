"""OLMo 3 (Team OLMo 2025): OLMo 2 with a window on three of four layers; a stretched rotation, where there is one, on full layers alone.

With one base for all layers and windows on none it is OLMo 2. Given ``rope_theta`` beside ``rope_scaling``, as before transformers 5, the
class turns sliding layers by 500000 whatever it says.
"""

from __future__ import annotations

from components.interop.architecture import Architecture
from components.interop.architectures._llama import FILES
from components.interop.architectures._olmo import NORMED, NORMED_FIELDS, NORMED_TENSORS
from components.interop.architectures._windows import by_layer, every

ARCHITECTURE = Architecture(
    names=("Olmo3ForCausalLM",),
    model_type="olmo3",
    base=NORMED,
    fields=(*NORMED_FIELDS, by_layer(every(4), 4096, bases=(5e5, 5e5))),
    tensors=NORMED_TENSORS,
    **FILES,
)
