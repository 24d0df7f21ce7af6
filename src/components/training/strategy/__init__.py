"""How a run is laid out on its devices: an object of Lightning's class ``Strategy``, or a name that Lightning's Trainer knows."""
