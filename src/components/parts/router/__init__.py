"""Which experts each token goes to: ``router(x, info)``, (B, T, D) -> ``functional.routing.Routing``.

``choices(tokens)``: how many choices a router makes for so many tokens, which is what the experts' FLOPs follow from."""
