"""Small trained weights beside frozen ones: ``adapter.apply(model)`` puts them in place, ``components.merge(model)`` takes them in exactly."""
