"""Lightning callbacks that a run's config names, ``callbacks: {name: options}``: each is given the metrics of the task if it takes them."""
