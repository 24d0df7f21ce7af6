"""Small trained weights beside frozen ones: ``adapter.apply(model)`` puts them in place, ``components.merge(model)`` merges them exactly."""
