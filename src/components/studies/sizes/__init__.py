"""A study over model sizes: a ladder of them, the law that their losses follow, and what it says of the next one."""
